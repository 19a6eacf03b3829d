//! What the threads share: the conversation under its lock, the terminal, and the
//! end of the run.
//!
//! A client that writes without reading blocks for ever against a server that
//! does the same, and one that waits for its input does not notice that the
//! server is gone. So one thread reads the input, one connects and reads replies,
//! and one writes messages. Each waits for its file descriptor without the lock,
//! and then changes the [`Conversation`] under it. None is waited for at the end:
//! each may block for as long as it likes, or panic. The first to know how the
//! run ends says so, and the main thread concludes it.

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

use crate::figures::counts::Snapshot;
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
    /// Nobody reads standard output any more.
    OutputClosed(anyhow::Error),
    Signalled(Signal),
    /// The thread of this name has panicked, which was said already.
    Panicked(&'static str),
}

impl End {
    /// The end of a run for which everything was done, by the verdict on it.
    pub(crate) fn by_verdict(verdict: Result<(), String>) -> Self {
        match verdict {
            Ok(()) => End::Done,
            Err(why) => End::Failed(anyhow!(why)),
        }
    }

    /// The end of a run whose replies cannot be written.
    pub(crate) fn by_output(error: io::Error) -> Self {
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

    /// Why the run was no success, in one line.
    pub(crate) fn why(&self) -> Option<String> {
        match self {
            End::Done => None,
            End::Failed(error) | End::OutputClosed(error) => Some(format!("{error:#}")),
            End::Signalled(signal) => Some(signal.to_string()),
            End::Panicked(name) => Some(format!("the thread \"{name}\" panicked")),
        }
    }
}

/// What the threads share. No file or socket is read or written under the lock of
/// the conversation.
pub(crate) struct Shared {
    conversation: Mutex<Conversation>,
    /// Signalled when messages were answered, for the thread that waits for room.
    answered: Condvar,
    /// Signalled at any other change, for all other threads. With one for both,
    /// each reply would also wake the thread that has nothing to write yet.
    changed: Condvar,
    pub(crate) output: Output,
    end: Sender<End>,
    /// Whether the run is over. It is set under the lock.
    is_over: AtomicBool,
}

impl Shared {
    /// The first that `end` receives is how the run ends.
    pub(crate) fn new(conversation: Conversation, output: Output, end: Sender<End>) -> Self {
        let conversation = Mutex::new(conversation);
        Shared {
            conversation,
            answered: Condvar::new(),
            changed: Condvar::new(),
            output,
            end,
            is_over: AtomicBool::new(false),
        }
    }

    /// The run is over, unless it already was.
    pub(crate) fn end(&self, how: End) {
        // The main thread may have stopped listening, at the first end.
        let _ = self.end.send(how);
    }

    /// The conversation, for as long as the guard is held. Once the run is over, this
    /// blocks forever: nothing is counted, sent or logged any more.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Conversation> {
        self.unless_over(self.lock_always())
    }

    /// The conversation, unless the run is over.
    pub(crate) fn lock_if_not_over(&self) -> Option<MutexGuard<'_, Conversation>> {
        let conversation = self.lock_always();
        if self.is_over.load(Ordering::Relaxed) {
            None
        } else {
            Some(conversation)
        }
    }

    /// The replies that were counted last are printed: they count even if the run has
    /// ended by now.
    pub(crate) fn end_printing(&self) {
        self.lock_always().end_printing();
    }

    /// Ends the run in this moment. Returns how it ended: replies that are being printed
    /// count if that takes no longer than 0.25 s.
    pub(crate) fn close(&self) -> Snapshot {
        let conversation = self.lock_always();
        self.is_over.store(true, Ordering::Relaxed);
        let now = Instant::now();
        drop(conversation);
        running_time::wait_within(LAST_REPLIES, |_| {
            if !self.lock_always().is_printing() {
                return true;
            }
            thread::sleep(Duration::from_millis(1));
            false
        });
        self.lock_always().conclude(now)
    }

    fn lock_always(&self) -> MutexGuard<'_, Conversation> {
        self.conversation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn unless_over<'a>(
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

    /// Gives the conversation back after messages were answered. Returns the news, which
    /// may be logged now that nothing is locked.
    pub(crate) fn release_answered(
        &self,
        mut conversation: MutexGuard<'_, Conversation>,
    ) -> Vec<News> {
        let news = conversation.take_news();
        drop(conversation);
        self.answered.notify_all();
        news
    }

    /// Gives the conversation back after any other change, and logs the news.
    pub(crate) fn release_changed(&self, mut conversation: MutexGuard<'_, Conversation>) {
        let news = conversation.take_news();
        drop(conversation);
        self.changed.notify_all();
        self.output.log(news);
    }

    /// Logs, in the thread that connects and reads replies. Until that is done it notices
    /// nothing, and standard error can take any time.
    pub(crate) fn log(&self, news: impl IntoIterator<Item = News>) {
        self.lock().stop_listening();
        self.output.log(news);
        self.lock().begin_to_listen(Instant::now());
    }

    /// Asks for a message if all so far are answered.
    pub(crate) fn prompt(&self) {
        if !self.output.prompts() {
            return;
        }
        // Under the lock, under which typed lines are taken, too: none comes in between.
        let conversation = self.lock();
        let asks = conversation.awaits_input() && self.output.begin_prompt();
        drop(conversation);
        if asks {
            self.output.show_prompt();
        }
    }

    /// Changes the conversation, and wakes every thread that waits for that.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Conversation) -> T) -> T {
        let value = change(&mut self.lock());
        self.changed.notify_all();
        value
    }

    /// The conversation, once another line may be queued.
    pub(crate) fn lock_with_room(&self) -> MutexGuard<'_, Conversation> {
        let is_full = |conversation: &mut Conversation| !conversation.has_room();
        let waited = self.answered.wait_while(self.lock(), is_full);
        self.unless_over(waited.unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until `awaited` returns something, or the deadline has passed.
    pub(crate) fn wait_until<T>(
        &self,
        deadline: Option<Instant>,
        mut awaited: impl FnMut(&mut Conversation) -> Option<T>,
    ) -> Option<T> {
        let mut conversation = self.lock();
        loop {
            let value = awaited(&mut conversation);
            let left = deadline.map_or(Duration::MAX, |at| {
                at.saturating_duration_since(Instant::now())
            });
            if value.is_some() || left.is_zero() {
                return value;
            }
            let woken = self.changed.wait_timeout(conversation, left);
            conversation = self.unless_over(woken.unwrap_or_else(PoisonError::into_inner).0);
        }
    }
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
) -> anyhow::Result<JoinHandle<Option<T>>> {
    let shared = Arc::clone(shared);
    let thread = thread::Builder::new().name(name.to_string());
    let body = move || {
        // Whatever state it leaves behind, only the conclusion of the run reads it.
        match panic::catch_unwind(AssertUnwindSafe(|| run(&shared))) {
            Ok(value) => Some(value),
            Err(_) => {
                shared.end(End::Panicked(name));
                None
            }
        }
    };
    thread.spawn(body).context("cannot start a thread")
}

/// From now on, a panic is said as every error is: in one line, which tells where
/// it happened.
pub(crate) fn say_panics_in_one_line() {
    panic::set_hook(Box::new(|panic| {
        let (thread, what) = (thread::current(), panic.to_string().replace('\n', " "));
        let name = thread.name().unwrap_or("?");
        let _ = writeln!(io::stderr(), "client: the thread \"{name}\" {what}");
    }));
}
