//! Why the socket program of every tutorial breaks, and what stands here
//! instead.
//!
//! Each entry below ends with commands, to be run in a checkout. Those with
//! `--test tutorial` show how the tutorial's program breaks, and that the real ones
//! do not. The others run a test of the real ones that fails without what the entry
//! describes. (Tests may start themselves again, and then print twice.)
//!
//! ```text
//! cargo test --test tutorial -- --nocapture NAME
//! cargo test --test it -- --nocapture NAME
//! ```
//!
//! The tutorial's chat server reads from a socket, answers `Server received your
//! message: …`, and has a thread for each client. On one machine, with one user
//! who types slowly, it works. This crate is that same system for all other
//! days. It has a [`server`](../server/index.html) that acknowledges every line, and a
//! [`client`](../client/index.html) that proves that every line came back. This library
//! is what they share:
//!
//! - [`wire`]: the protocol, as a page to read and as the lines that it consists of
//! - [`lines`]: bounded lines out of any byte stream
//! - [`printable`]: text made safe for terminals and logs
//! - [`running_time`]: limits that a pause of the process does not use up
//! - [`system`]: what Rust's standard library lacks, or does differently by system
//! - [`cli`]: what both command lines share
//!
//! # The tutorial's program
//!
//! This is all of it, `tests/tutorial/naive.rs`:
//!
//! ```no_run
#![doc = include_str!("../tests/tutorial/naive.rs")]
//! ```
//!
//! It works. Try it in two terminals, and stop it with Ctrl-C:
//!
//! ```text
//! rustc --edition 2024 -o /tmp/naive tests/tutorial/naive.rs
//! /tmp/naive server 127.0.0.1:12345
//! /tmp/naive client 127.0.0.1:12345
//! ```
//!
//! The repairs that come to mind first are these, in `tests/tutorial/repaired.rs`:
//! read lines, drop silent clients, go on where a client cannot be accepted. It
//! breaks, too, in other places, and some entries are about it.
//!
//! ```no_run
#![doc = include_str!("../tests/tutorial/repaired.rs")]
//! ```
//!
//! # Framing
//!
//! ## A stream has no messages
//!
//! Two messages arrive as one, or one as two: TCP carries bytes, and neither
//! the calls that wrote them nor the segments that they travel in mean anything.
//! Tutorials see each `read` bring what one `write` sent, because on an idle
//! machine it does. The naive client is worse off than the server: it takes the
//! rest of a long reply for the next one, and from then on shows each reply one
//! message late.
//!
//! So there has to be a rule for where a message ends (*framing*). Here an LF ends it,
//! and [`LineReader`](lines::LineReader) keeps what has come of the next one.
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
//! ```text
//! cargo test --test tutorial -- --nocapture messages_merge
//! cargo test --test tutorial -- --nocapture a_long_message_becomes_several
//! cargo test --test tutorial -- --nocapture after_a_long_reply_every_reply_is_one_message_late
//! cargo test --test it -- --nocapture replies_do_not_depend_on_how_the_bytes_are_split
//! ```
//!
//! ## An empty line
//!
//! Somebody presses Enter without a text, and the naive client hangs forever. It sends
//! nothing, because it leaves the end of line out, and then waits for a reply. Or a server
//! takes an empty line for the end of the conversation. With framing, an empty line is a
//! message of no bytes, and has a reply like any other.
//!
//! ```text
//! cargo test --test tutorial -- --nocapture an_empty_line_hangs_the_client
//! ```
//!
//! ## A character can be cut
//!
//! `from_utf8` fails on text that is fine, or `from_utf8_lossy` puts a `�` into
//! it: a read may end between the two bytes of an `é`. So bytes are text only
//! once the whole message is here. Where there is no framing, a cut character
//! waits for its other bytes
//! ([`LineReader::next_read`](lines::LineReader::next_read)).
//!
//! ```text
//! cargo test --test tutorial -- --nocapture a_character_is_cut
//! cargo test --test it -- --nocapture a_cut_character_waits_for_its_other_bytes
//! ```
//!
//! ## A line without end
//!
//! `read_line`, the first repair, grows its `String` for as long as bytes come
//! without an LF, so one client can take all memory. Here a line has a limit
//! ([`MAX_MESSAGE`](wire::MAX_MESSAGE)). What is over it is dropped as it comes
//! and rejected at its end, and the connection goes on.
//!
//! ```text
//! cargo test --test tutorial -- --nocapture a_line_without_an_end_uses_up_memory
//! cargo test --test it -- --nocapture a_line_of_32_mebibytes_costs_one_rejection_and_no_memory
//! ```
//!
//! ## `read_line` with a timeout loses bytes
//!
//! With a read timeout, std's `read_line` returns an error in mid-line. If the bytes
//! so far end within a character, they are gone, and the next call begins in the
//! middle of the message. [`LineReader`](lines::LineReader) keeps them, so a timeout
//! is only a chance to look at the clock.
//!
//! ```text
//! cargo test --test tutorial -- --nocapture read_line_with_a_timeout_loses_bytes
//! cargo test --lib -- --nocapture a_cut_character_survives_an_interrupted_read_and_a_timeout
//! ```
//!
//! # Connections
//!
//! ## Half-close, and who closes first
//!
//! A client that closes its socket as soon as all is sent gives up the replies:
//! they come to a socket that is gone. A connection has two directions. Each side can
//! end its own and still read the other (`shutdown`, a *half-close*; on the wire, a
//! FIN). Here the client waits for its replies, or half-closes. The server replies to
//! all that came before that end, even to a last line without an LF, and then closes
//! ([`server/connection.rs`]). When to half-close is a rule of the client
//! ([`conversation.rs`]), and its writer does it ([`client/connection.rs`]).
//!
//! Either way the client's FIN goes first. The side that sends the first FIN keeps the
//! pair of addresses blocked for a minute, in case a late segment comes (*TIME-WAIT*).
//! A server that closes first therefore finds its port in use when it starts again,
//! unless SO_REUSEADDR is set, as std does on Unix.
//!
//! ```text
//!       a half-close                         a reset
//!  client          server              client          server
//!    | -- one, two --> |                 | -- one -------> |
//!    | -- FIN -------> |                 | <- refused ---- |
//!    | <- reply ------ |                 | <- RST -------- | closes, "one" unread
//!    | <- reply ------ |                 | -- two ----- x  |
//!    | <- FIN -------- | closes        the write fails, and
//! TIME-WAIT                            "refused" was not read
//! ```
//!
//! ```text
//! cargo test --test tutorial -- --nocapture closing_at_once_gives_up_the_replies
//! cargo test --test it -- --nocapture after_a_half_close_the_server_replies_to_all_then_closes
//! ```
//!
//! ## Closing resets, and the reset destroys replies
//!
//! A server writes "you are refused" and closes, and the client only ever sees
//! `Connection reset by peer`. A close with bytes unread makes the system send a
//! reset (RST), and so do bytes that come after a close. A reset discards data in
//! transit; on many systems, also data that the client has received but not read. On
//! all systems a client that is still sending gets an error before it reads the
//! refusal. A last line that nobody asked for is a *notice* here. After one, the server
//! half-closes and drains what still comes, for a second at most ([`drain.rs`]).
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
//! ```text
//! cargo test --test tutorial -- --nocapture a_reset_breaks_a_client_that_is_still_sending
//! cargo test --test tutorial -- --nocapture a_client_that_is_still_sending_misses_its_refusal
//! cargo test --test it -- --nocapture a_refusal_arrives_although_the_client_sent_a_mebibyte
//! ```
//!
//! ## A dead thread keeps its connection open
//!
//! A client waits forever for a reply, and the server's log ends in a traceback. An
//! exception has ended the client's thread, but something else still holds the socket: here a
//! list of all clients. In Rust, the thread's own stream is closed when it unwinds. The
//! real server rejects what is no text ([`server/connection.rs`]). If a client's thread
//! panics all the same, it frees the slot and closes the stream ([`accept.rs`]).
//!
//! ```text
//! cargo test --test tutorial -- --nocapture a_dead_thread_keeps_its_connection_open
//! ```
//!
//! ## Silence is not an end
//!
//! A machine loses its power, a cable is pulled, a firewall forgets a connection:
//! nothing arrives any more, neither an end nor an error. A sender gets an error after
//! a quarter of an hour of useless retransmission (on Linux). A program that only reads
//! waits forever. Only a clock can tell a dead peer from a slow one, so each wait for a
//! peer has a limit: the client's `--timeout` while a reply is awaited, the
//! server's `--idle-timeout` and `--timeout`.
//!
//! ```text
//! cargo test --test tutorial -- --nocapture silence_is_not_an_end
//! cargo test --test it -- --nocapture an_idle_client_gets_a_notice_and_is_not_closed_early
//! ```
//!
//! ## A write is not a delivery
//!
//! `write` succeeds as soon as the bytes are in this machine's own buffer. They
//! may never leave it, and if they arrive, the program there may never read them;
//! the error comes with a later call, or none. Even the acknowledgements of TCP
//! only say that the other *machine* has them. Only the other program can say
//! that it has a message, by a reply. So a line counts here when its own reply
//! has come, and is kept until then ([`outbox.rs`]).
//!
//! ```text
//! cargo test --test tutorial -- --nocapture a_write_is_not_a_delivery
//! cargo test --test it -- --nocapture a_close_before_the_last_reply_is_a_lost_connection
//! ```
//!
//! ## What one connection does not see
//!
//! A balancer is reloaded: for a second it accepts nobody, and the connections that
//! are there go on. A check that stays connected finds nothing wrong, while every
//! new client is refused. A check that connects again for each message does not see
//! that long connections are cut. These are two statements about a path, so each
//! takes a client of its own: one that stays, and one with `--reconnect-every 1`
//! ([`session.rs`]). The end of a connection that was planned is no outage, and a
//! connect that fails is one.
//!
//! ```text
//! cargo test --test tutorial -- --nocapture a_long_connection_hides_refusals
//! cargo test --test it -- --nocapture reconnecting_every_n_lines_prints_every_reply_once
//! ```
//!
//! ## The client that meets itself
//!
//! No server runs, and yet `connect` succeeds, and the client gets its own message as
//! the reply. An outgoing connection gets its port from a range
//! (`ip_local_port_range`: on Linux, some 28,000 of them). That may happen to be the
//! very port on this machine that it asks for. Then its *SYN*, the segment that opens a
//! connection, meets itself, and TCP takes that for two sides that open at once. A
//! client that tries again and again while its server is away comes to this in time.
//! So a connection whose two addresses are one counts as refused ([`connect.rs`]), and
//! a server is best given a port outside the range.
//!
//! ```text
//! cargo test --test tutorial -- --nocapture a_client_can_connect_to_itself
//! ```
//!
//! # Time
//!
//! ## Nagle's algorithm meets delayed acknowledgement
//!
//! Now and then a small message takes 40 ms longer. A sender holds a small segment back
//! while an earlier one is unacknowledged (Nagle). The receiver holds the acknowledgement
//! back to send it along with a reply. Both ends set TCP_NODELAY ([`connect.rs`],
//! [`server/connection.rs`]), and make up for it by writing all that there is in one call.
//!
//! ```text
//! cargo test --test tutorial -- --nocapture nagle_waits_for_a_delayed_acknowledgement
//! cargo test --test it -- --nocapture a_message_does_not_wait_for_the_tcp_ack_of_the_last_one
//! ```
//!
//! ## One client holds up all others
//!
//! Nobody is served while the first client says nothing. A server that accepts, serves, and
//! only then accepts again serves one client at a time. The others can connect, because the
//! kernel does that, and then wait. A thread for each client is the simplest repair
//! ([`accept.rs`]).
//!
//! ```text
//! cargo test --test tutorial -- --nocapture one_client_holds_up_all_others
//! ```
//!
//! ## Slowloris: a client that drips
//!
//! A client that sends a byte every few seconds holds its thread forever: the read
//! timeout never passes, because each byte starts it again. (An attack on web servers
//! that does this is called *slowloris*.) So the deadline belongs not to the read but to
//! the line, counted from its first byte. Another deadline is for clients that send
//! nothing (both in [`server/connection.rs`]).
//!
//! ```text
//! cargo test --test tutorial -- --nocapture a_client_that_sends_slowly_holds_a_thread
//! cargo test --test it -- --nocapture sending_byte_by_byte_does_not_extend_a_lines_deadline
//! ```
//!
//! ## A peer that does not read
//!
//! A client that sends and never reads fills both sockets' buffers, and then
//! `write` blocks the server's thread forever. A write timeout alone does not help
//! against a client that takes a byte now and then, because each starts it again.
//! Here each batch of replies, of about 64 KiB, must be taken within one
//! deadline ([`server/connection.rs`]).
//!
//! ```text
//! cargo test --test tutorial -- --nocapture a_peer_that_does_not_read_holds_a_thread
//! cargo test --test it -- --nocapture a_client_that_reads_too_slowly_is_closed_and_costs_little
//! ```
//!
//! ## Both write, nobody reads: deadlock
//!
//! A client that sends everything first and then reads blocks against a server
//! that answers at once: both wait in `write` for the other to read. So the
//! client reads and writes in two threads ([`client/connection.rs`]), and a
//! *window* ([`conversation.rs`]) bounds what is read and not yet answered, sent or
//! not: 8,192 lines, or 512 KiB. So no more than that is ever *in flight*: sent, and
//! not yet answered. When it is full, the input is not read any further, so the
//! program that writes that input has to wait, too (*backpressure*).
//!
//! ```text
//!  standard input                                        server
//!        |                                              ^      |
//!        v                                     messages |      | replies
//!  [input thread]                            [writer thread]  [session thread]
//!        | a line                             a batch ^      | what came
//!        v                                            |      v
//!  +--------------- one lock round the Conversation ----------------+
//!  | the outbox, the counts, the outage, the deadlines: every rule, |
//!  | and no file, socket or clock                                   |
//!  +----------------------------------------------------------------+
//!        each thread reads or writes without the lock, and holds it
//!        only to say what has happened and to learn what to do next
//! ```
//!
//! ```text
//! cargo test --test tutorial -- --nocapture both_sides_write_and_neither_reads
//! cargo test --test it -- --nocapture the_window_limits_the_messages_in_flight
//! cargo test --test it -- --nocapture more_data_than_all_buffers_hold_passes_without_a_deadlock
//! ```
//!
//! ## Coordinated omission: a stall that no figure shows
//!
//! A client that waits for each reply before it sends the next message sends
//! nothing while the server stalls. So one slow reply is measured where a
//! hundred users would have waited, and the 99th percentile looks fine. With
//! `--rate`, each line has a due time, and its reply time counts from there
//! ([`schedule.rs`]).
//!
//! ```text
//! cargo test --test tutorial -- --nocapture waiting_for_each_reply_hides_a_stall
//! cargo test --test it -- --nocapture reply_times_show_a_stall_with_every_window
//! ```
//!
//! ## Whose fault is the latency?
//!
//! The figures say that replies took a second, and the server is blamed. But pause the
//! *client* for that second (Ctrl-Z, a suspended laptop, a test machine with too much to
//! do). It reads late what came in time, and reports the very same figures. So does a
//! client whose output nobody reads: it waits until it can print, and reads no reply
//! until then. So a thread of the client wakes every 10 ms, and does nothing else. Each
//! wake-up stands for a reply that arrives at that moment, and counts as noticed when
//! that reply would have been ([`own_delay.rs`]). A reply time or an outage is the
//! path's only as far as it exceeds the client's own delays.
//!
//! ```text
//! cargo test --test tutorial -- --nocapture a_paused_client_looks_like_a_paused_server
//! cargo test --test it -- --nocapture own_delays_show_a_paused_client_but_not_a_paused_server
//! cargo test --test it -- --nocapture own_delays_show_a_slow_reader_of_the_output
//! ```
//!
//! # Limits of the machine
//!
//! ## The backlog, and the SYN that is repeated
//!
//! Of many clients that connect at once, some take one second longer, or three,
//! or seven. The queue of connections that wait for `accept` was full (std asks
//! for 128), so their SYN was dropped, and they repeat it. The server asks for
//! a queue of 4,096 ([`listener.rs`]).
//!
//! ```text
//! cargo test --test tutorial -- --nocapture the_queue_of_new_connections_overflows
//! cargo test --test tutorial -- --nocapture a_queue_of_five_is_soon_full
//! cargo test --test it -- --nocapture a_thousand_simultaneous_connects_wait_in_the_queue
//! ```
//!
//! ## Descriptors run out
//!
//! Each connection takes a file descriptor, and a process may have only so many. Then
//! `accept` fails with `Too many open files`, and the tutorial's loop ends. The repaired
//! one spins at full speed: the connection stays in the queue, and the next `accept`
//! fails the same way. The server limits its clients, so it runs out of descriptors only
//! if something else takes them ([`limits.rs`]). Then it pauses between attempts
//! ([`accept.rs`]).
//! An error that belongs to a new connection alone (`EPROTO`, `EOPNOTSUPP` and others
//! that accept(2) lists) is tried again, too.
//!
//! ```text
//! cargo test --test tutorial -- --nocapture without_descriptors_the_loop_dies
//! cargo test --test tutorial -- --nocapture without_descriptors_the_repaired_loop_spins
//! cargo test --test it -- --nocapture without_free_descriptors_the_server_waits_and_recovers
//! ```
//!
//! ## Threads run out
//!
//! `thread::spawn` panics if no thread is available, and takes the accept loop
//! with it. `thread::Builder` returns the error, and the client gets a notice
//! ([`accept.rs`]). Worse, a new thread that cannot map its signal stack makes std
//! abort the whole process, so the number of clients stays below what
//! `vm.max_map_count` allows ([`limits.rs`]).
//!
//! ```text
//! cargo test --test tutorial -- --nocapture without_threads_spawn_panics
//! cargo test --test it -- --nocapture without_a_free_thread_a_client_is_refused_with_the_reason
//! ```
//!
//! ## What a thread costs
//!
//! Not the 2 MiB of stack that it gets: memory is only what was touched, about
//! 11 KB a client in a release build here. But a limit of address space counts all of
//! it, so each thread asks for 64 KiB, enough for a panic ([`accept.rs`]). Four mappings a thread are the other price.
//!
//! ```text
//! cargo test --test tutorial -- --nocapture a_thread_reserves_two_mebibytes_of_address_space
//! cargo test --test it -- --nocapture a_client_takes_little_address_space
//! ```
//!
//! # Nothing is lost
//!
//! ## At least once, exactly once
//!
//! The connection breaks, and nobody can tell whether the last messages
//! arrived. A client that sends them again risks that they come twice; one that
//! does not, that they never come. The client keeps each message until it is
//! acknowledged and sends the rest again over the next connection
//! ([`outbox.rs`]): at the server *at least once*. It prints a reply only for the
//! oldest message in flight ([`replies.rs`]): at its output *exactly once*.
//!
//! ```text
//!   acknowledged,    in flight:           not sent      room in
//!   and printed      sent, no reply yet   yet           the window
//!  ................|one\ntwo\nthree\n|four\nfive\n|....................
//!                  ^ start           ^ in_flight
//!                                    `- a lost connection sets this back to
//!                                       the start, and all goes out again
//! ```
//!
//! ```text
//! cargo test --test tutorial -- --nocapture a_lost_connection_loses_messages
//! cargo test --test it -- --nocapture despite_kills_each_line_is_printed_once_and_in_order
//! ```
//!
//! ## Exactly once needs both ends
//!
//! A server is killed after it has read a line and before its reply is out. Its
//! client sends the line again, and it has come twice: no client can prevent that.
//! So the server has its part, too. In a shutdown it replies to each message that it has
//! processed, processes none after 2 s, and waits until its replies are taken
//! ([`shutdown.rs`]). Then every logged message has its reply; a message without a reply
//! was not processed. Across such a shutdown each line comes *exactly once*. Against
//! `kill -9`, only a server that remembers what it has done, by a number in each message,
//! could promise that.
//!
//! ```text
//! cargo test --test tutorial -- --nocapture a_line_arrives_twice_unless_both_ends_take_care
//! cargo test --test it -- --nocapture across_graceful_restarts_each_line_arrives_exactly_once
//! cargo test --test it -- --nocapture a_shutdown_at_full_speed_logs_exactly_what_has_a_reply
//! ```
//!
//! ## Address already in use
//!
//! The server is restarted, and cannot listen: `Address already in use`. Its side of a
//! connection had closed first, so the system keeps that pair of addresses for a minute
//! (*TIME-WAIT*), and with it the port. SO_REUSEADDR says that this is fine. On Unix, std
//! of Rust sets it for each listener, and Python's `socket` does not.
//!
//! ```text
//! cargo test --test tutorial -- --nocapture a_restart_finds_the_address_in_use
//! ```
//!
//! ## A reply that is cut looks whole
//!
//! The stream ends in the middle of `Server received your message: 1000`, and
//! what came is the right reply to `100`. Only the LF makes a line whole, so a
//! cut one is never a reply ([`replies.rs`]).
//!
//! ```text
//! cargo test --test tutorial -- --nocapture a_reply_that_is_cut_looks_whole
//! cargo test --test it -- --nocapture an_incomplete_reply_is_never_printed
//! ```
//!
//! ## Standard output is closed
//!
//! `client | head -1`: where a C program ends by SIGPIPE, Rust ignores that
//! signal, and `println!`, or the `unwrap` of a flush, panics. Here the failed write
//! ends the client quietly, with the exit code that a shell shows for SIGPIPE, 141
//! ([`shared.rs`]). A descriptor that is not open for writing is worse: std's
//! `Stdout` takes it for success. So the client writes to it as to a file
//! ([`output.rs`]).
//!
//! ```text
//! cargo test --test tutorial -- --nocapture a_closed_output_panics
//! cargo test --test it -- --nocapture a_closed_output_ends_quietly_with_exit_code_141
//! cargo test --test it -- --nocapture an_output_not_open_for_writing_is_an_error
//! ```
//!
//! # Places
//!
//! ## Process 1
//!
//! In a container, `kill` and Ctrl-C do nothing, and `docker stop` waits for
//! ten seconds and then kills the program hard. The kernel gives process 1 no
//! default action for signals, and in a container that is the program itself.
//! So a program has to say itself what a signal does, as both do ([`system`]).
//!
//! ```text
//! cargo test --test tutorial -- --nocapture as_process_1_a_program_ignores_sigterm
//! cargo test --test it -- --nocapture as_process_1_the_server_ends_on_a_signal
//! ```
//!
//! ## A server that cannot be stopped
//!
//! `kill` ends the naive server wherever it is. Messages that have arrived and have no
//! reply are gone, and its clients read a reset. To end well, it would have to wake
//! threads that wait in `accept` and `read`, and nothing in std does that. Here a
//! connection to the server's own address wakes `accept`, and a signal to the thread
//! interrupts `read`. Then each client's own thread sends the last replies and a notice,
//! and waits until the client closes, within 5 s in all ([`shutdown.rs`]).
//!
//! ```text
//! cargo test --test tutorial -- --nocapture a_shutdown_loses_messages_that_have_arrived
//! cargo test --test it -- --nocapture a_shutdown_serves_the_queue_and_refuses_later_clients
//! cargo test --test it -- --nocapture on_shutdown_thousands_of_idle_clients_get_the_notice
//! ```
//!
//! ## Terminal escapes in a log
//!
//! A client sends `\x1b[2J`, and the administrator's screen is cleared; with a
//! line feed it would forge a line of the log, and with U+202E reverse text.
//! In a log and at a terminal, all that a peer says is shown through
//! [`Printable`](printable::Printable); into a file or pipe it goes unchanged.
//!
//! ```
//! use tcp_chat::printable::Printable;
//!
//! assert_eq!(Printable(b"\x1b[2Jhello").to_string(), r"\u{1b}[2Jhello");
//! ```
//!
//! ```text
//! cargo test --test tutorial -- --nocapture escapes_and_forged_lines_reach_the_log
//! cargo test --test it -- --nocapture each_log_line_is_one_event_without_control_characters
//! ```
//!
//! # Your own server
//!
//! What is wrong with *your* server? Let the cases of this book judge it, in any language:
//!
//! ```text
//! YOURS="python3 my_server.py" cargo test --test tutorial yours
//! YOURS=127.0.0.1:12345 cargo test --test tutorial yours
//! ```
//!
//! The first form runs the command with `IP:PORT` as its last argument, anew for each case.
//! It is ready as soon as it listens. The second form judges a server that runs already, and
//! leaves out the cases that pause or kill it, or look at its process.
//!
//! There is one line for each case: a verdict, what was done, and what came of it.
//!
//! - `holds`, `BREAKS`: what every client expects, and no harm to others or to the machine
//! - `choice`: you may do so or otherwise
//! - `kept`, `not kept`: promises that ordinary servers do not make
//! - `figure`: a number of this run, which is not judged
//! - `not judged`: the case presupposes something that your server lacks, such as lines
//! - `left out`: the case needs the server's command, or a program that this machine lacks
//!
//! The end of the output names the entry of this book for each case that breaks. No verdict
//! depends on speed. Try it first on `tests/tutorial/naive.py`, the tutorial's server in
//! Python.
//!
//! ```text
//! YOURS="python3 tests/tutorial/naive.py" cargo test --test tutorial yours
//! cargo test --test tutorial -- --nocapture the_judge_finds_in_known_servers_what_the_book_says
//! ```
//!
//! # Your own client
//!
//! What does *your* client do when its server misbehaves? `tests/tutorial/bad_server.rs` is
//! a server that does so in eleven ways. There is no verdict: start a mode, connect your
//! client, and watch.
//!
//! ```text
//! rustc --edition 2024 -o /tmp/bad_server tests/tutorial/bad_server.rs
//! /tmp/bad_server
//! /tmp/bad_server cut 127.0.0.1:12345
//! cargo test --test tutorial -- --nocapture the_client_says_what_is_wrong_with_each_bad_server
//! ```
//!
//! # What each promise costs, and a way through the source
//!
//! In lines of code, without blank lines, comments and tests, and in round figures.
//! The tutorial's program has fifty.
//!
//! | promise | files | lines |
//! |---|---|---|
//! | a message is whole, and memory bounded | [`lines.rs`] | 150 |
//! | one protocol for both sides | [`wire.rs`] | 90 |
//! | whatever a peer says is safe to show | [`printable.rs`] | 70 |
//! | the server waits for nobody forever | [`server/connection.rs`] | 320 |
//! | it serves as many as the machine allows | [`accept.rs`], [`limits.rs`] | 280 |
//! | its notices arrive | [`drain.rs`] | 100 |
//! | a shutdown loses nothing | [`shutdown.rs`], [`stream.rs`] | 230 |
//! | the client's rules: window, deadlines, outages, replies | [`conversation.rs`], [`connections.rs`], [`replies.rs`] | 760 |
//! | nothing is lost | [`outbox.rs`] | 100 |
//! | input, sending and replies do not block each other | [`shared.rs`], [`input.rs`], [`session.rs`], [`connect.rs`], [`client/connection.rs`] | 690 |
//! | the figures are true | [`schedule.rs`], [`histogram.rs`], [`outage.rs`], [`own_delay.rs`] | 240 |
//! | each end of a run is reported | [`run.rs`], [`output.rs`], [`report.rs`] | 380 |
//! | what differs by system is in one place | [`system.rs`], [`unix.rs`] | 360 |
//!
//! For Windows, `windows.rs` takes the place of [`unix.rs`], with half of its lines.
//!
//! Read [`wire`]'s page and [`lines`] first, then the server: [`server/main.rs`],
//! [`accept.rs`], [`server/connection.rs`], and of [`shutdown.rs`] its page. That is an
//! hour, and [`limits.rs`] and [`drain.rs`] can wait. Of the client, read
//! [`conversation.rs`], [`connections.rs`] and [`replies.rs`] with [`outbox.rs`]: the
//! rules, without any socket. Then the threads that carry them out: [`shared.rs`],
//! [`input.rs`], [`session.rs`], which connects again after an outage by [`connect.rs`],
//! and [`client/connection.rs`]. How a run ends is judged in [`conversation.rs`], sent on
//! by the thread that comes to know it first, and settled in [`run.rs`].
//! [`output.rs`], [`report.rs`] and whatever else counts or shows can wait.
//!
//! [`client/connection.rs`]: ../src/client/network/connection.rs.html
//! [`connect.rs`]: ../src/client/network/connect.rs.html
//! [`conversation.rs`]: ../src/client/rules/conversation.rs.html
//! [`connections.rs`]: ../src/client/rules/conversation/connections.rs.html
//! [`replies.rs`]: ../src/client/rules/conversation/replies.rs.html
//! [`histogram.rs`]: ../src/client/figures/histogram.rs.html
//! [`input.rs`]: ../src/client/input.rs.html
//! [`run.rs`]: ../src/client/run.rs.html
//! [`outage.rs`]: ../src/client/rules/outage.rs.html
//! [`outbox.rs`]: ../src/client/rules/outbox.rs.html
//! [`output.rs`]: ../src/client/output.rs.html
//! [`own_delay.rs`]: ../src/client/figures/own_delay.rs.html
//! [`report.rs`]: ../src/client/reports/report.rs.html
//! [`schedule.rs`]: ../src/client/rules/schedule.rs.html
//! [`session.rs`]: ../src/client/network/session.rs.html
//! [`shared.rs`]: ../src/client/shared.rs.html
//! [`accept.rs`]: ../src/server/accept.rs.html
//! [`server/connection.rs`]: ../src/server/connection.rs.html
//! [`limits.rs`]: ../src/server/limits.rs.html
//! [`drain.rs`]: ../src/server/drain.rs.html
//! [`listener.rs`]: ../src/server/listener.rs.html
//! [`shutdown.rs`]: ../src/server/shutdown.rs.html
//! [`stream.rs`]: ../src/server/stream.rs.html
//! [`server/main.rs`]: ../src/server/main.rs.html
//! [`lines.rs`]: ../src/tcp_chat/lines.rs.html
//! [`printable.rs`]: ../src/tcp_chat/printable.rs.html
//! [`system.rs`]: ../src/tcp_chat/system.rs.html
//! [`unix.rs`]: ../src/tcp_chat/system/unix.rs.html
//! [`wire.rs`]: ../src/tcp_chat/wire.rs.html

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::print_stdout))]

pub mod cli;
pub mod lines;
pub mod printable;
pub mod running_time;
pub mod system;
pub mod wire;
