//! Why the socket program of every tutorial breaks, and what stands here
//! instead.
//!
//! The tutorial's chat server reads from a socket, answers `Server received
//! your message: …`, and has a thread for each client. On one machine, with one
//! user who types slowly, it works. This crate is that same system for all
//! other days: a `server` that acknowledges every line, a `client` that proves
//! that every line came back, and this library, which is what they share:
//!
//! - [`wire`]: the protocol, as a page to read and as the lines that it consists of
//! - [`lines`]: bounded lines out of any byte stream
//! - [`printable`]: text made safe for terminals and logs
//! - [`system`]: what std lacks or does differently by system
//! - [`cli`]: what both command lines share
//!
//! What follows is what goes wrong, one entry each: what happens and why, what
//! is done about it in which file, and which test fails without it. The test's
//! module is a file in `tests/it`, or the unit tests of the file named before.
//!
//! # Framing
//!
//! ## A stream has no messages
//!
//! Two messages arrive as one, or one as two: TCP carries bytes, and neither
//! the calls that wrote them nor the segments on the way mean anything.
//! Tutorials see each `read` bring what one `write` sent, because on an idle
//! machine it does. Here an LF ends a message, and
//! [`LineReader`](lines::LineReader) keeps what has come of the next one.
//! Test: `faults::the_same_bytes_in_every_split_have_the_same_replies`.
//!
//! ```
//! use tcp_chat::lines::{Line, LineReader};
//!
//! let mut segments = std::io::Read::chain(&b"hel"[..], &b"lo\nand"[..]);
//! let mut lines = LineReader::new(80);
//! lines.fill(&mut segments)?;
//! assert_eq!(lines.next_line(), None);
//! lines.fill(&mut segments)?;
//! assert_eq!(lines.next_line(), Some(Line::Whole(b"hello")));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! ## A character can be cut
//!
//! `from_utf8` fails on text that is fine, or `from_utf8_lossy` puts a `�` into
//! it: a read may end between the two bytes of an `é`. So bytes are text only
//! once the whole message is here. Where there is no framing, a cut character
//! waits for its other bytes
//! ([`LineReader::next_read`](lines::LineReader::next_read)).
//! Test: `raw::a_character_that_a_read_cut_waits_for_its_other_bytes`.
//!
//! ## A line without end
//!
//! `read_line` grows its `String` for as long as bytes come without an LF, so
//! one client can take all memory. Here a line has a limit
//! ([`MAX_MESSAGE`](wire::MAX_MESSAGE)). What is over it is dropped as it comes
//! and rejected at its end, and the connection goes on.
//! Test: `limits::lines_of_32_mebibytes_cost_no_memory_and_one_rejection_each`.
//!
//! ## `read_line` with a timeout loses bytes
//!
//! With a read timeout, std's `read_line` returns an error in mid-line; when
//! the bytes so far end within a character, they are gone, and the next call
//! begins in the middle of the message. [`LineReader`](lines::LineReader) keeps
//! them, so a timeout is only a chance to look at the clock.
//! Test: `lines::tests::goes_on_after_a_timeout_in_the_middle_of_a_character`.
//!
//! # Closing
//!
//! ## Half-close, and who closes first
//!
//! A client that closes its socket as soon as all is sent gives up the replies.
//! The client may end its own direction (`shutdown`), and the server has to
//! answer all that came before that end, a last line without an LF too, before
//! it closes (`src/bin/server/connection.rs`). Either way the client's end goes
//! first, so that TIME-WAIT stays on its side. A server that closes first finds
//! its port in use when it starts again, unless SO_REUSEADDR is set, as std
//! does on Unix.
//! Test: `server::closes_after_a_half_close_once_everything_is_answered`.
//!
//! ## Closing resets, and the reset destroys replies
//!
//! A server writes "you are refused" and closes, and the client only ever sees
//! `Connection reset by peer`. A close with bytes unread sends a reset. It
//! throws away what is still on its way, on many systems also what the client
//! has received and not read yet, and on all of them it fails a client that is
//! still sending and has not looked. So the server half-closes after its last
//! line and drains what still comes, for a second at most
//! (`src/bin/server/linger.rs`).
//! Test: `limits::a_refusal_survives_that_the_client_has_sent_a_mebibyte`.
//!
//! ```
//! use std::io::{ErrorKind, Read, Write};
//! use std::net::{TcpListener, TcpStream};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let mut client = TcpStream::connect(listener.local_addr()?)?;
//! client.write_all(b"unread")?;
//! let (server, _) = listener.accept()?;
//! server.peek(&mut [0])?; // The bytes are here, and are not taken.
//! drop(server);
//! let error = client.read_to_end(&mut Vec::new()).unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::ConnectionReset);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Time
//!
//! ## Nagle's algorithm meets delayed acknowledgement
//!
//! Now and then a small message takes 40 ms longer. A sender holds a small
//! segment back while an earlier one is unacknowledged (Nagle), and the
//! receiver holds the acknowledgement back to send it along with an answer.
//! Both ends set TCP_NODELAY (`src/bin/client/session.rs`,
//! `src/bin/server/connection.rs`), and make up for it by writing all that
//! there is in one call.
//! Test, of the client's side:
//! `client::a_message_does_not_wait_for_the_acknowledgement_of_the_one_before`.
//!
//! ## Slowloris: a client that drips
//!
//! A client that sends a byte every few seconds holds its thread for ever,
//! although the read timeout never passes: each byte starts it anew. So the
//! deadline belongs to the line, counted from its first byte, and not to the
//! read; another one is for clients that send nothing (both in
//! `src/bin/server/connection.rs`).
//! Tests: `deadlines::dripping_bytes_does_not_extend_the_deadline_of_a_line`,
//! `deadlines::closes_an_idle_client_with_a_notice`.
//!
//! ## A peer that does not read
//!
//! A client that sends and never reads fills both sockets' buffers, and then
//! `write` blocks the server's thread for ever. A write timeout alone does not
//! help against one that takes a byte now and then, since each starts it anew.
//! Here each batch of replies, of about 64 KiB, must be taken within one
//! deadline (`src/bin/server/connection.rs`).
//! Test:
//! `deadlines::a_client_that_takes_no_replies_or_drips_is_closed_in_time_and_costs_little`.
//!
//! ## Both write, nobody reads: deadlock
//!
//! A client that sends everything first and then reads blocks against a server
//! that answers at once: both wait in `write` for the other to read. So the
//! client reads and writes in two threads (`src/bin/client/connection.rs`), and a
//! window bounds what is in flight. When it is full, the input is not read any
//! further: backpressure, up to the program that writes that input.
//! Tests: `misbehaving::no_more_messages_are_in_flight_than_the_window_allows`;
//! without window and threads,
//! `client::more_than_all_buffers_hold_passes_a_server_that_reads_no_further_than_it_can_answer`.
//!
//! ## Coordinated omission: a stall that no figure shows
//!
//! A client that waits for each reply before it sends the next message sends
//! nothing while the server stalls. So one slow reply is measured where a
//! hundred users would have waited, and the 99th percentile looks fine. With
//! `--rate`, each line has a place in a schedule, and its reply time counts
//! from there (`src/bin/client/schedule.rs`).
//! Test: `probe::reply_times_show_a_stall_whatever_the_window`.
//!
//! # Limits of the machine
//!
//! ## The backlog, and the SYN that is repeated
//!
//! Of many clients that connect at once, some take one second longer, or three,
//! or seven. The queue of connections that wait for `accept` was full (std asks
//! for 128), so their SYN was dropped, and they repeat it. The server asks for
//! a queue of 4,096 (`src/system/unix.rs`).
//! Test: `limits::a_thousand_clients_that_connect_at_once_wait_in_the_queue`.
//!
//! ## Descriptors run out
//!
//! `accept` fails with `Too many open files`, and the tutorial's loop either
//! ends, or spins at full speed: the connection stays in the queue, and the
//! next `accept` fails the same way. The server counts its clients so that it
//! comes to that only if something else takes descriptors, and then pauses
//! between attempts (`src/bin/server/limits.rs`, `src/bin/server/accept.rs`).
//! Test: `limits::without_free_descriptors_it_waits_and_then_recovers`.
//!
//! ## Threads run out
//!
//! `thread::spawn` panics where no thread is available. `thread::Builder`
//! returns the error, and the client is told. Worse, a new thread that cannot
//! map its signal stack makes std abort the whole process, so the number of
//! clients stays below what `vm.max_map_count` allows
//! (`src/bin/server/limits.rs`).
//! Test:
//! `threads::a_client_for_whom_there_is_no_thread_is_told_so_and_others_are_served`.
//!
//! ## What a thread costs
//!
//! Not the 2 MiB of stack that it gets: memory is only what was touched, about
//! 11 KB a client here. But a limit of address space counts all of it, so each
//! thread asks for 64 KiB, enough for a panic with its backtrace
//! (`src/bin/server/accept.rs`). Four mappings a thread are the other price.
//! Test: `threads::a_client_takes_little_address_space`.
//!
//! # Nothing is lost
//!
//! ## At least once, exactly once
//!
//! The connection breaks, and nobody can tell whether the last messages
//! arrived. A client that sends them again risks that they come twice; one that
//! does not, that they never come. The client keeps each message until it is
//! acknowledged and sends the rest again over the next connection
//! (`src/bin/client/outbox.rs`): at the server *at least once*. It prints a
//! reply only for the oldest message in flight
//! (`src/bin/client/conversation/replies.rs`): at its output *exactly once*.
//! Test:
//! `outages::every_line_is_printed_once_and_in_order_however_often_the_server_is_killed`.
//!
//! ## A reply that is cut looks whole
//!
//! The stream ends in the middle of `Server received your message: 1000`, and
//! what came is the right reply to `100`. Only the LF makes a line whole, so a
//! cut one is never a reply (`src/bin/client/conversation/replies.rs`).
//! Test: `misbehaving::a_torn_reply_is_never_printed`.
//!
//! ## Standard output is closed
//!
//! `client | head -1`: where a C program ends by SIGPIPE, Rust ignores that
//! signal, and `println!` panics. Here the failed write ends the client
//! quietly, with the exit code that a shell shows for SIGPIPE, 141
//! (`src/bin/client/main.rs`). A descriptor that is not open for writing is
//! worse: std's `Stdout` takes it for success. So the client writes to it as to
//! a file (`src/bin/client/output.rs`).
//! Tests: `client::a_closed_output_is_quiet_with_exit_code_141`,
//! `streams::an_output_that_is_not_open_for_writing_is_an_error`.
//!
//! # Places
//!
//! ## Process 1
//!
//! In a container, `kill` and Ctrl-C do nothing, and `docker stop` waits for
//! ten seconds and then kills the program hard. The kernel gives process 1 no
//! default action for signals, and in a container that is the program itself.
//! Both programs install a handler ([`system::watch`]), the server only there.
//! Test: `places::as_process_1_it_ends_on_a_signal`.
//!
//! ## Terminal escapes in a log
//!
//! A client sends `\x1b[2J`, and the administrator's screen is cleared; with a
//! line feed it would forge a line of the log, and with U+202E turn text round.
//! In a log and at a terminal, all that a peer says is shown through
//! [`Printable`](printable::Printable); into a file or pipe it goes unchanged.
//! Test:
//! `server::logs_connections_and_messages_in_one_line_each_without_control_characters`.
//!
//! ```
//! use tcp_chat::printable::Printable;
//!
//! assert_eq!(Printable(b"\x1b[2Jhello").to_string(), r"\u{1b}[2Jhello");
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cli;
pub mod lines;
pub mod printable;
pub mod system;
pub mod wire;
