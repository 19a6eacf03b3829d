#![doc = "
[A character can be cut]: framing/index.html#a-character-can-be-cut
[A dead thread keeps its connection open]: closing/index.html#a-dead-thread-keeps-its-connection-open
[A line without end]: framing/index.html#a-line-without-end
[A peer that does not read]: peers/index.html#a-peer-that-does-not-read
[A reply that is cut looks whole]: framing/index.html#a-reply-that-is-cut-looks-whole
[A send may be partial]: closing/index.html#a-send-may-be-partial
[A stop that loses messages]: restarts/index.html#a-stop-that-loses-messages
[A stream has no messages]: framing/index.html#a-stream-has-no-messages
[A write is not a delivery]: closing/index.html#a-write-is-not-a-delivery
[Address already in use]: restarts/index.html#address-already-in-use
[An empty line]: framing/index.html#an-empty-line
[At least once, exactly once]: restarts/index.html#at-least-once-exactly-once
[`bad_server.rs`]: #your-own-client
[Both write, nobody reads: deadlock]: peers/index.html#both-write-nobody-reads-deadlock
[Closing and silence]: closing/index.html
[Closing resets, and the reset destroys replies]: closing/index.html#closing-resets-and-the-reset-destroys-replies
[`complete.py`]: #your-own-server
[Coordinated omission: a stall that no figure shows]: measuring/index.html#coordinated-omission-a-stall-that-no-figure-shows
[Deployment]: deployment/index.html
[Descriptors run out]: limits/index.html#descriptors-run-out
[Exactly once needs both ends]: restarts/index.html#exactly-once-needs-both-ends
[Framing]: framing/index.html
[Half-close, and who closes first]: closing/index.html#half-close-and-who-closes-first
[Limits]: limits/index.html
[`localhost` and `::1`]: deployment/index.html#localhost-and-1
[Measuring]: measuring/index.html
[Nagle's algorithm meets delayed acknowledgement]: measuring/index.html#nagles-algorithm-meets-delayed-acknowledgement
[`naive.py`]: #your-own-server
[`naive.rs`]: #the-tutorials-program
[One client holds up all others]: peers/index.html#one-client-holds-up-all-others
[Process 1]: deployment/index.html#process-1
[`read_line` with a timeout loses bytes]: framing/index.html#read_line-with-a-timeout-loses-bytes
[`repaired.rs`]: #the-repairs-that-come-to-mind-first
[Restarts and retries]: restarts/index.html
[Silence is not an end]: closing/index.html#silence-is-not-an-end
[Slow or hostile peers]: peers/index.html
[Slowloris: a client that drips]: peers/index.html#slowloris-a-client-that-drips
[Standard output is closed]: deployment/index.html#standard-output-is-closed
[Terminal escapes in a log]: peers/index.html#terminal-escapes-in-a-log
[The client's manual]: ../../client/index.html#log-lines
[The backlog, and the SYN that is repeated]: limits/index.html#the-backlog-and-the-syn-that-is-repeated
[The client that meets itself]: restarts/index.html#the-client-that-meets-itself
[Threads run out]: limits/index.html#threads-run-out
[What a thread costs]: limits/index.html#what-a-thread-costs
[What one connection does not see]: measuring/index.html#what-one-connection-does-not-see
[When one thread per client is the wrong choice]: limits/index.html#when-one-thread-per-client-is-the-wrong-choice
[Where each guarantee lives]: guarantees/index.html
[Whose fault is the latency?]: measuring/index.html#whose-fault-is-the-latency
"]
#![doc = include_str!("book/README.md")]

// GitHub shows the files of the book as they are. Each file defines its links at its end, as
// GitHub resolves them. Here the same links are defined for rustdoc, before the file: in
// Markdown, the first definition wins. `tests/tutorial/book.rs` checks that both lead to the
// same place.

/// The links of all chapters.
macro_rules! links {
    () => {
        "
[A stream has no messages]: ../framing/index.html#a-stream-has-no-messages
[`accept`]: ../../../src/server/accept.rs.html
[`accept.rs`]: ../../../src/server/accept.rs.html
[`accept::spawn`]: ../../../src/server/accept.rs.html
[`append_reply`]: crate::wire::append_reply
[`args.rs`]: ../../../src/client/args.rs.html
[At least once, exactly once]: ../restarts/index.html#at-least-once-exactly-once
[`Attempt::try_all`]: ../../../src/client/network/connect.rs.html
[`cli.rs`]: ../../../src/tcp_chat/cli.rs.html
[`client/connection.rs`]: ../../../src/client/network/connection.rs.html
[`client/main.rs`]: ../../../src/client/main.rs.html
[Closing and silence]: ../closing/index.html
[Closing resets, and the reset destroys replies]: ../closing/index.html#closing-resets-and-the-reset-destroys-replies
[`complete.py`]: ../index.html#your-own-server
[`connect.rs`]: ../../../src/client/network/connect.rs.html
[`connect_to`]: ../../../src/client/network/connect.rs.html
[`Connection::overdue`]: ../../../src/server/connection.rs.html
[`Connection::reply_to_last_messages`]: ../../../src/server/connection.rs.html
[`Connection::run`]: ../../../src/server/connection.rs.html
[`Connection::send`]: ../../../src/server/connection.rs.html
[`connections.rs`]: ../../../src/client/rules/conversation/connections.rs.html
[`conversation.rs`]: ../../../src/client/rules/conversation.rs.html
[`Conversation::enqueue`]: ../../../src/client/rules/conversation.rs.html
[`Conversation::has_done_its_part`]: ../../../src/client/rules/conversation/connections.rs.html
[`Conversation::is_window_open`]: ../../../src/client/rules/conversation.rs.html
[`Conversation::judge_deadlines`]: ../../../src/client/rules/conversation/connections.rs.html
[`Conversation::record_loss`]: ../../../src/client/rules/conversation/connections.rs.html
[`Conversation::take_replies`]: ../../../src/client/rules/conversation/replies.rs.html
[`Conversation::take_unsent`]: ../../../src/client/rules/conversation.rs.html
[`converse`]: ../../../src/client/network/connection.rs.html
[`counts.rs`]: ../../../src/client/figures/counts.rs.html
[Deployment]: ../deployment/index.html
[`drain.rs`]: ../../../src/server/drain.rs.html
[`Drain::close`]: ../../../src/server/drain.rs.html
[`Draining::advance`]: ../../../src/server/drain.rs.html
[`Draining::send`]: ../../../src/server/drain.rs.html
[`end_by`]: crate::system::end_by
[`Endpoint::bind`]: ../../../src/server/listener.rs.html
[`Endpoint::open`]: ../../../src/server/listener.rs.html
[`Excerpt::start`]: crate::printable::Excerpt::start
[`histogram.rs`]: ../../../src/client/figures/histogram.rs.html
[`input.rs`]: ../../../src/client/input.rs.html
[`Interruptible::interrupt`]: crate::system::Interruptible::interrupt
[`lengthen_queue`]: crate::system::lengthen_queue
[Limits]: ../limits/index.html
[`limits.rs`]: ../../../src/server/limits.rs.html
[`Limits::of_this_machine`]: ../../../src/server/limits.rs.html
[`Limits::take_slot`]: ../../../src/server/limits.rs.html
[`LineReader::fill`]: crate::lines::LineReader::fill
[`LineReader::next_line`]: crate::lines::LineReader::next_line
[`LineReader::next_read`]: crate::lines::LineReader::next_read
[`lines.rs`]: ../../../src/tcp_chat/lines.rs.html
[`listener.rs`]: ../../../src/server/listener.rs.html
[`longest.rs`]: ../../../src/client/figures/longest.rs.html
[`Machine::allow`]: ../../../src/server/limits.rs.html
[`MAX_MESSAGE`]: crate::wire::MAX_MESSAGE
[`measure_own_delay`]: ../../../src/client/run.rs.html
[Measuring]: ../measuring/index.html
[`naive.py`]: ../index.html#your-own-server
[`naive.rs`]: ../index.html#the-tutorials-program
[`named_file.rs`]: ../../../src/client/reports/named_file.rs.html
[`outage.rs`]: ../../../src/client/rules/outage.rs.html
[`outages.rs`]: ../../../src/client/figures/outages.rs.html
[`Outbox`]: ../../../src/client/rules/outbox.rs.html
[`outbox.rs`]: ../../../src/client/rules/outbox.rs.html
[`Outbox::rewind`]: ../../../src/client/rules/outbox.rs.html
[`output.rs`]: ../../../src/client/output.rs.html
[`Output::print`]: ../../../src/client/output.rs.html
[`own_delay.rs`]: ../../../src/client/figures/own_delay.rs.html
[`OwnDelays`]: ../../../src/client/figures/own_delay.rs.html
[`pause_after`]: ../../../src/server/accept.rs.html
[`Printable`]: crate::printable::Printable
[`printable.rs`]: ../../../src/tcp_chat/printable.rs.html
[`printing.rs`]: ../../../src/client/rules/conversation/printing.rs.html
[`progress.rs`]: ../../../src/client/reports/progress.rs.html
[`read_input`]: ../../../src/client/input.rs.html
[`repaired.rs`]: ../index.html#the-repairs-that-come-to-mind-first
[`replies.rs`]: ../../../src/client/rules/conversation/replies.rs.html
[`report.rs`]: ../../../src/client/reports/report.rs.html
[Restarts and retries]: ../restarts/index.html
[`run.rs`]: ../../../src/client/run.rs.html
[`running_time.rs`]: ../../../src/tcp_chat/running_time.rs.html
[`schedule.rs`]: ../../../src/client/rules/schedule.rs.html
[`Schedule::start_or_next_due`]: ../../../src/client/rules/schedule.rs.html
[`series.rs`]: ../../../src/client/reports/series.rs.html
[`server/connection.rs`]: ../../../src/server/connection.rs.html
[`server/main.rs`]: ../../../src/server/main.rs.html
[`Server::admit`]: ../../../src/server/accept.rs.html
[`session.rs`]: ../../../src/client/network/session.rs.html
[`Session::run`]: ../../../src/client/network/session.rs.html
[`shared.rs`]: ../../../src/client/shared.rs.html
[`shutdown.rs`]: ../../../src/server/shutdown.rs.html
[`Shutdown::advance_until`]: ../../../src/server/shutdown.rs.html
[`Shutdown::await_clients`]: ../../../src/server/shutdown.rs.html
[`Shutdown::connect_to_itself`]: ../../../src/server/shutdown.rs.html
[Silence is not an end]: ../closing/index.html#silence-is-not-an-end
[Slow or hostile peers]: ../peers/index.html
[`snapshot.rs`]: ../../../src/client/figures/snapshot.rs.html
[`STACK`]: ../../../src/server/accept.rs.html
[`stdout`]: crate::system::stdout
[`stream.rs`]: ../../../src/server/stream.rs.html
[`summary.rs`]: ../../../src/client/reports/summary.rs.html
[`system.rs`]: ../../../src/tcp_chat/system.rs.html
[The client's manual]: ../../../client/index.html#figures
[the index]: ../index.html
[the server's manual]: ../../../server/index.html#shutdown
[`unix.rs`]: ../../../src/tcp_chat/system/unix.rs.html
[`watch`]: crate::system::watch
[Where each guarantee lives]: ../guarantees/index.html
[`wire.rs`]: ../../../src/tcp_chat/wire.rs.html
[`write_messages`]: ../../../src/client/network/connection.rs.html
"
    };
}

#[doc = links!()]
#[doc = include_str!("book/framing.md")]
pub mod framing {}

#[doc = links!()]
#[doc = include_str!("book/closing.md")]
pub mod closing {}

#[doc = links!()]
#[doc = include_str!("book/peers.md")]
pub mod peers {}

#[doc = links!()]
#[doc = include_str!("book/limits.md")]
pub mod limits {}

#[doc = links!()]
#[doc = include_str!("book/restarts.md")]
pub mod restarts {}

#[doc = links!()]
#[doc = include_str!("book/measuring.md")]
pub mod measuring {}

#[doc = links!()]
#[doc = include_str!("book/deployment.md")]
pub mod deployment {}

#[doc = links!()]
#[doc = include_str!("book/guarantees.md")]
pub mod guarantees {}
