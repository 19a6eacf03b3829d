//! What the threads share: the conversation under its lock, the terminal, and the
//! end of the run.
//!
//! A client that writes without reading blocks forever against a server that does the
//! same. A client that waits for its input does not notice that the server is gone. So one
//! thread reads the input, one connects and reads replies, and one writes messages. Each
//! waits for its file descriptor without the lock, and then changes the [`Conversation`]
//! under the lock:
//!
//! ```text
//!  thread     without the lock         under the lock        then
//!  ---------  -----------------------  --------------------  ------------------------------
//!  input      reads lines, sleeps      queues lines          wakes session and writer, logs
//!             until one is due
//!  session    connects, reads replies  takes replies,        wakes input, prints, logs
//!                                      judges deadlines
//!  session    -                        counts connects       wakes writer
//!                                      and losses
//!  writer     writes messages          takes queued lines    -
//!  own delay  sleeps                   measures              -
//!  progress,  sleep                    take a snapshot       show it, write it
//!  series
//!  slow       sleeps for a second      looks for a first     logs that it takes long
//!  connect                             connect
//! ```
//!
//! A panic of one of these threads ends the run at once. Three threads are not in the
//! table:
//!
//! - `look-up` resolves the server's name, for the session thread, which waits for it. If it
//!   has panicked, the session thread ends the run.
//! - `signals` waits for a signal, and then announces the end of the run. If it panics before
//!   it has announced that, the run goes on, and only another signal ends the program.
//! - `main` starts the others, and concludes the run. A panic of it ends the program with
//!   exit code 1. What was not concluded by then is missing.
//!
//! Two condition variables wake the waiting threads:
//!
//! - `replied`: the input thread waits for it while the window is full.
//! - `changed`: the writer waits for it until there is something to send, and the session
//!   thread until there is a reason to connect again.
//!
//! The end of a run has two steps. Any thread that learns how the run ends sends an [`End`]
//! to the main thread; the first one counts. The main thread then closes the conversation.
//! From then on, a thread that wants the lock blocks forever. So nothing more is counted, and
//! nothing new is sent or logged. A batch that a writer has taken is still sent. News that a
//! thread has taken is still logged until the conclusion is written, but not by the session
//! thread: it wants the lock first. The main thread waits for
//! three things, and not for long:
//!
//! - replies that are being printed: 0.25 s
//! - the last row of the series: 1 s
//! - another thread that is writing to the terminal: 0.1 s ([`Output::end`])
//!
//! It joins no thread, because each may be blocked in a system call, or may have panicked.

use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tcp_chat::running_time;
use tcp_chat::system::{self, Signal};

use crate::figures::snapshot::Snapshot;
use crate::output::Output;
use crate::rules::conversation::{Conversation, News};

/// How long the end of the run waits for replies that are being printed.
const LAST_REPLIES: Duration = Duration::from_millis(250);

/// The exit code of a program ended by SIGPIPE, as a shell reports it.
const OUTPUT_CLOSED: u8 = 141;

/// How a run ends.
#[derive(Debug)]
pub(crate) enum End {
    /// Every line was acknowledged and printed.
    Done,
    Failed(anyhow::Error),
    /// Standard output is a pipe or socket that nobody reads any more.
    OutputClosed(anyhow::Error),
    Signalled(Signal),
    /// The thread of this name has panicked, which the panic hook has printed.
    Panicked(&'static str),
}

impl End {
    /// Returns the end of a run that has nothing left to do.
    pub(crate) fn from_verdict(verdict: Result<(), String>) -> Self {
        match verdict {
            Ok(()) => End::Done,
            Err(why) => End::Failed(anyhow!(why)),
        }
    }

    /// Returns the end of a run whose replies cannot be written.
    pub(crate) fn from_output_error(error: io::Error) -> Self {
        let is_closed = system::is_broken_pipe(&error);
        let error = anyhow::Error::new(error).context("cannot write to standard output");
        if is_closed {
            End::OutputClosed(error)
        } else {
            End::Failed(error)
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            End::Done => 0,
            End::Failed(_) | End::Panicked(_) => 1,
            End::OutputClosed(_) => OUTPUT_CLOSED,
            End::Signalled(signal) => signal.exit_code(),
        }
    }

    /// Returns the signal that ended the run, if one did.
    pub(crate) fn signal(&self) -> Option<Signal> {
        match self {
            End::Signalled(signal) => Some(*signal),
            _ => None,
        }
    }

    /// Returns in one line why the run was no success.
    pub(crate) fn why(&self) -> Option<String> {
        match self {
            End::Done => None,
            End::Failed(error) | End::OutputClosed(error) => Some(format!("{error:#}")),
            End::Signalled(signal) => Some(signal.to_string()),
            End::Panicked(name) => Some(format!("the thread \"{name}\" panicked")),
        }
    }
}

/// What the threads share. No thread reads or writes a file or socket while it holds the
/// lock of the conversation.
pub(crate) struct Shared {
    conversation: Mutex<Conversation>,
    /// Signalled when replies were taken, for the input thread, which waits while the window
    /// is full.
    replied: Condvar,
    /// Signalled at any other change, for all other threads. With one condition variable for
    /// both, each reply would also wake a writer that has nothing to write.
    changed: Condvar,
    pub(crate) output: Output,
    /// To the main thread, which waits for the first end.
    end: Sender<End>,
    /// Whether the conversation is closed. Set and read under its lock.
    is_over: AtomicBool,
}

impl Shared {
    /// The first end that is sent through `end` is how the run ends.
    pub(crate) fn new(conversation: Conversation, output: Output, end: Sender<End>) -> Self {
        Shared {
            conversation: Mutex::new(conversation),
            replied: Condvar::new(),
            changed: Condvar::new(),
            output,
            end,
            is_over: AtomicBool::new(false),
        }
    }

    /// Sends the main thread an end of the run. The main thread ignores all but the first.
    pub(crate) fn announce_end(&self, how: End) {
        // Sending fails only once the main thread has concluded the run.
        let _ = self.end.send(how);
    }

    /// Locks the conversation. Once the run is over, this blocks forever, so nothing more is
    /// counted, and no thread takes anything more to send or to log.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Conversation> {
        self.block_if_over(self.lock_even_if_over())
    }

    /// Locks the conversation, unless the run is over.
    pub(crate) fn lock_unless_over(&self) -> Option<MutexGuard<'_, Conversation>> {
        let conversation = self.lock_even_if_over();
        if self.is_over.load(Ordering::Relaxed) {
            None
        } else {
            Some(conversation)
        }
    }

    /// Records that the replies which were counted last are printed. Unlike all other
    /// changes, this one is made even if the run is over: then [`close`](Self::close) may be
    /// waiting for it.
    pub(crate) fn end_printing(&self) {
        self.lock_even_if_over().end_printing();
    }

    /// Closes the conversation: the run is over from this moment on. Returns how it ended.
    /// Replies that are being printed count if that takes no longer than 0.25 s. If nobody
    /// reads them any more, nothing is waited for.
    pub(crate) fn close(&self, end: &End) -> Snapshot {
        let conversation = self.lock_even_if_over();
        self.is_over.store(true, Ordering::Relaxed);
        let now = Instant::now();
        drop(conversation);
        if !matches!(end, End::OutputClosed(_)) {
            self.wait_for_printing();
        }
        self.lock_even_if_over().conclude(now)
    }

    fn wait_for_printing(&self) {
        running_time::wait_within(LAST_REPLIES, |_| {
            if !self.lock_even_if_over().is_printing() {
                return Some(());
            }
            thread::sleep(Duration::from_millis(1));
            None
        });
    }

    fn lock_even_if_over(&self) -> MutexGuard<'_, Conversation> {
        // A thread that panics under the lock poisons it. That ends the run, and only the
        // conclusion reads what the thread has left behind.
        self.conversation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the guard, unless the run is over: then it unlocks and never returns.
    fn block_if_over<'a>(
        &self,
        conversation: MutexGuard<'a, Conversation>,
    ) -> MutexGuard<'a, Conversation> {
        if self.is_over.load(Ordering::Relaxed) {
            drop(conversation);
            loop {
                thread::park();
            }
        }
        conversation
    }

    /// Unlocks the conversation after replies were taken, and wakes the input thread.
    /// Returns the news, which the caller logs after it has printed the replies.
    pub(crate) fn unlock_after_replies(
        &self,
        mut conversation: MutexGuard<'_, Conversation>,
    ) -> Vec<News> {
        let news = conversation.take_news();
        drop(conversation);
        self.replied.notify_all();
        news
    }

    /// Unlocks the conversation after lines were queued, wakes the threads that wait for
    /// them, and logs the news.
    pub(crate) fn unlock_after_input(&self, mut conversation: MutexGuard<'_, Conversation>) {
        let news = conversation.take_news();
        drop(conversation);
        self.changed.notify_all();
        self.output.log(news);
    }

    /// Logs for the session thread. Writing to standard error can take any time, in which
    /// this thread notices no reply; that counts as the client's own delay.
    pub(crate) fn log_in_session(&self, news: impl IntoIterator<Item = News>) {
        self.lock().stop_listening();
        self.output.log(news);
        self.lock().begin_to_listen(Instant::now());
    }

    /// Shows the prompt if all messages so far have replies.
    pub(crate) fn prompt(&self) {
        if !self.output.prompts() {
            return;
        }
        // Typed lines are queued under the same lock. So none is queued after the check and
        // before `begin_prompt`.
        let conversation = self.lock();
        let mut must_show = false;
        if conversation.awaits_input() {
            must_show = self.output.begin_prompt();
        }
        drop(conversation);
        if must_show {
            self.output.show_prompt();
        }
    }

    /// Changes the conversation, and wakes every thread that waits for a change. Returns what
    /// `change` returns.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Conversation) -> T) -> T {
        let value = change(&mut self.lock());
        self.changed.notify_all();
        value
    }

    /// Waits until another line may be queued, and locks the conversation.
    pub(crate) fn lock_to_queue(&self) -> MutexGuard<'_, Conversation> {
        let is_full = |conversation: &mut Conversation| !conversation.is_window_open();
        let waited = self.replied.wait_while(self.lock(), is_full);
        self.block_if_over(waited.unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until `awaited` returns something, and returns that. Returns `None` if the
    /// deadline passes first. `awaited` is called again after each change.
    pub(crate) fn wait_until<T>(
        &self,
        deadline: Option<Instant>,
        mut awaited: impl FnMut(&mut Conversation) -> Option<T>,
    ) -> Option<T> {
        let mut conversation = self.lock();
        loop {
            let value = awaited(&mut conversation);
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => Duration::MAX,
            };
            if value.is_some() || left.is_zero() {
                return value;
            }
            let woken = self.changed.wait_timeout(conversation, left);
            let (woken, _) = woken.unwrap_or_else(PoisonError::into_inner);
            conversation = self.block_if_over(woken);
        }
    }
}

/// How a thread of [`start_thread`] has finished.
pub(crate) enum Finished<T> {
    Returned(T),
    /// The panic ends the run.
    Panicked,
}

/// Starts a thread. If it panics, the run ends.
///
/// # Errors
///
/// No thread is available.
pub(crate) fn start_thread<T: Send + 'static>(
    name: &'static str,
    shared: &Arc<Shared>,
    run: impl FnOnce(&Shared) -> T + Send + 'static,
) -> anyhow::Result<JoinHandle<Finished<T>>> {
    let shared = Arc::clone(shared);
    let thread = thread::Builder::new().name(name.to_string());
    let body = move || {
        // The thread may leave an inconsistent state behind. Only the conclusion reads it.
        match panic::catch_unwind(AssertUnwindSafe(|| run(&shared))) {
            Ok(value) => Finished::Returned(value),
            Err(_) => {
                shared.announce_end(End::Panicked(name));
                Finished::Panicked
            }
        }
    };
    thread.spawn(body).context("cannot start a thread")
}

/// Lets each panic from now on be printed as an error is: in one line, with where it
/// happened.
pub(crate) fn print_panics_in_one_line() {
    panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("?");
        let what = panic.to_string().replace('\n', " ");
        let _ = writeln!(io::stderr(), "client: the thread \"{name}\" {what}");
    }));
}
