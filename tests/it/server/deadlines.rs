//! The server's deadlines for clients that are slow, silent or do not read, with and
//! without pauses.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
#[cfg(target_os = "linux")]
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    Bystander, HANG_LIMIT, LF_HINT, Pauses, Running, Server, acknowledgement, ask, ask_line,
    client, despite_load, eventually, may_start_threads, os_error, peer, quoted, read_line,
    read_once, read_rest, rounded,
};
#[cfg(target_os = "linux")]
use crate::util::{Network, command, installed};

const MS: Duration = Duration::from_millis(1);

#[test]
fn an_idle_client_gets_a_notice_and_is_not_closed_early() {
    let server = Server::start(&["--idle-timeout", "0.3"]);
    let begun = Instant::now();
    let silent = server.connect();
    let spoke = server.connect();
    ask_line(&spoke, "hello");
    for (client, stream) in [("one line", spoke), ("nothing", silent)] {
        let address = stream.local_addr().unwrap();
        let text = read_rest(stream);
        let elapsed = begun.elapsed();
        println!(
            "a client that sent {client} got {} after {}",
            quoted(&text),
            rounded(elapsed)
        );
        assert_eq!(text, "Server closed your connection: idle for 0.3 s\n");
        assert!((299 * MS..2000 * MS).contains(&elapsed), "{elapsed:?}");
        server.log_with(&format!("{address} disconnected after "));
    }
}

#[test]
fn many_short_waits_do_not_delay_a_deadline() {
    // Each wait of 1 ms takes some clock ticks, of up to 10 ms each.
    let server = Server::start(&["--idle-timeout", "0.5", "--timeout", "0.001"]);
    despite_load(|| {
        let stream = server.connect();
        let begun = Instant::now();
        ask_line(&stream, "hello");
        let notice = "Server closed your connection: idle for 0.5 s\n";
        assert_eq!(read_rest(stream), notice);
        let elapsed = begun.elapsed();
        assert!(elapsed >= 499 * MS, "{elapsed:?}");
        match elapsed < 700 * MS {
            true => Ok(()),
            false => Err(format!("closed after {elapsed:?}")),
        }
    });
}

#[test]
fn a_client_that_sends_a_line_now_and_then_is_not_idle() {
    let server = Server::start(&["--idle-timeout", "1"]);
    let stream = server.connect();
    for _ in 0..5 {
        thread::sleep(250 * MS);
        ask_line(&stream, "hello");
    }
}

#[test]
fn sending_byte_by_byte_does_not_extend_a_lines_deadline() {
    let server = Server::start(&["--timeout", "0.3"]);
    let stream = server.connect();
    let begun = Instant::now();
    let is_closed = AtomicBool::new(false);
    let sent = AtomicUsize::new(0);
    let text = thread::scope(|scope| {
        scope.spawn(|| {
            let goes_on = || !is_closed.load(Ordering::Relaxed) && begun.elapsed() < HANG_LIMIT;
            while goes_on() && (&stream).write_all(b"x").is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
                thread::sleep(20 * MS);
            }
        });
        let text = read_line(&stream);
        is_closed.store(true, Ordering::Relaxed);
        text
    });
    let elapsed = begun.elapsed();
    println!(
        "the client sent {} bytes, one after the other, and ended no line",
        sent.into_inner()
    );
    println!("after {} it got {}", rounded(elapsed), quoted(&text));
    assert_eq!(
        text,
        format!("Server closed your connection: a line was not ended within 0.3 s{LF_HINT}\n")
    );
    // If each byte extended the deadline, the notice would never come.
    assert!(elapsed >= 299 * MS, "{elapsed:?}");
}

#[test]
fn each_line_has_its_own_deadline() {
    let server = Server::start(&["--timeout", "1"]);
    let stream = server.connect();
    ask(&stream, "\nbegun", acknowledgement(""));
    for _ in 0..5 {
        thread::sleep(250 * MS);
        // One read ends a line and begins the next.
        ask(
            &stream,
            " and ended\nbegun",
            acknowledgement("begun and ended"),
        );
    }
}

#[test]
#[cfg_attr(windows, ignore = "needs /proc")]
fn a_client_that_reads_too_slowly_is_closed_and_costs_little() {
    let server = Server::start(&["-q", "--timeout", "0.3"]);
    let bystander = Bystander::start(&server);
    let before = server.status("VmHWM");
    let flood = |client: &str, mut stream: &TcpStream| {
        // The worst case: each LF asks for 31 bytes.
        let lines = vec![b'\n'; 1 << 20];
        let begun = Instant::now();
        while stream.write_all(&lines).is_ok() {}
        let elapsed = begun.elapsed();
        println!(
            "a client that {client} was closed after {}",
            rounded(elapsed)
        );
        assert!(elapsed < 10_000 * MS, "not closed in {elapsed:?}");
    };
    let [takes_nothing, drips] = [server.connect(), server.connect()];
    thread::scope(|scope| {
        scope.spawn(|| flood("read nothing", &takes_nothing));
        let drips_on = scope.spawn(|| flood("read a byte every 10 ms", &drips));
        while !drips_on.is_finished() {
            let _ = read_once(&drips, &mut [0]);
            thread::sleep(10 * MS);
        }
    });
    let grown = server.status("VmHWM") - before;
    println!("for both, the server took {grown} KB more memory (1024 KB would be wrong)");
    assert!(grown < 1024, "two that take nothing cost {grown} KB");
    bystander.assert_served();
}

#[test]
#[cfg_attr(windows, ignore = "needs /proc")]
fn the_buffers_of_a_quiet_client_are_freed() {
    const CLIENTS: u64 = 200;
    if !may_start_threads(CLIENTS) {
        return;
    }
    let server = Server::start(&["-q", "--timeout", "0.2"]);
    let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &clients {
        ask_line(client, "small");
    }
    let before = server.status("VmRSS");
    let long = "x".repeat(60_000);
    for client in &clients {
        ask_line(client, &long);
    }
    // Each client held 128 KB. What the allocator retains is shared by all.
    eventually(|| match server.status("VmRSS").saturating_sub(before) {
        grown if grown < CLIENTS * 16 => Ok(()),
        grown => Err(format!(
            "{CLIENTS} quiet clients still hold {grown} KB more than before"
        )),
    });
}

#[test]
#[cfg_attr(windows, ignore = "needs /proc")]
fn the_buffers_for_a_long_line_are_freed_after_short_lines() {
    const CLIENTS: u64 = 100;
    if !may_start_threads(CLIENTS) {
        return;
    }
    let server = Server::start(&["-q"]);
    let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    let all_ask = |line: &str, times: usize| {
        for _ in 0..times {
            for client in &clients {
                ask_line(client, line);
            }
        }
        server.status("VmRSS")
    };
    let before = all_ask("small", 1);
    let long = "x".repeat(65_536);
    // A client that sends long lines now and then keeps its buffers for them.
    let held = all_ask(&long, 1) - before;
    assert!(
        held > CLIENTS * 64,
        "only {held} KB are held after a long line"
    );
    for _ in 0..3 {
        all_ask("small", 30);
        all_ask(&long, 1);
    }
    let kept = all_ask("small", 30) - before;
    assert!(kept > held / 10 * 9, "of {held} KB, {kept} KB were kept");
    let grown = all_ask("small", 10).saturating_sub(before);
    println!("{CLIENTS} clients hold {kept} KB after a long line, {grown} KB after 40 short ones");
    assert!(
        grown < CLIENTS * 16,
        "{CLIENTS} clients still hold {grown} KB"
    );
}

#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn a_line_that_arrived_while_the_server_was_paused_has_a_reply() {
    let timeout = 800 * MS;
    let server = Server::start(&["--timeout", "0.8"]);
    // More than the server reads at once.
    let rest = "x".repeat(5000);
    // On a busy machine a line can be late before the pause, or the notice after it.
    let [ended, half_closed] = despite_load(|| {
        let clients = [(); 3].map(|()| server.connect());
        let begun = Instant::now();
        for client in &clients {
            ask(client, "\nbegun", acknowledgement(""));
        }
        server.pause();
        if begun.elapsed() >= timeout {
            server.resume();
            return Err(format!("paused after {:?}", begun.elapsed()));
        }
        let [ended, half_closed, late] = clients;
        writeln!(&mut &ended, "{rest}").unwrap();
        write!(&mut &half_closed, "{rest}").unwrap();
        half_closed.shutdown(Shutdown::Write).unwrap();
        write!(&mut &late, "{rest}").unwrap();
        thread::sleep(timeout + 100 * MS);
        server.resume();
        let begun = Instant::now();
        let notice = "Server closed your connection: a line was not ended within 0.8 s\n";
        assert_eq!(read_rest(late), notice);
        // The bytes that arrived in the pause must not restart the time of their line.
        match begun.elapsed() < timeout {
            true => Ok([ended, half_closed]),
            false => Err(format!("closed after {:?}", begun.elapsed())),
        }
    });
    let reply = acknowledgement(&format!("begun{rest}"));
    assert_eq!(read_line(&ended), reply);
    assert_eq!(read_rest(half_closed), reply);
    ask_line(&ended, "still served");
}

/// Sends lines and reads nothing, until a write has waited for so long.
fn flood(mut client: &TcpStream, patience: Duration) {
    let line = "x".repeat(65_536) + "\n";
    client.set_write_timeout(Some(patience)).unwrap();
    while client.write_all(line.as_bytes()).is_ok() {}
}

#[test]
fn the_log_distinguishes_unread_replies_from_a_lost_client() {
    for (timeout, patience, end) in [
        (
            "0.3",
            HANG_LIMIT,
            "replies were not taken in time".to_string(),
        ),
        ("0", 100 * MS, os_error(104)),
    ] {
        let server = Server::start(&["--timeout", timeout]);
        let client = server.connect();
        flood(&client, patience);
        drop(client);
        server.log_with(&format!(" messages: {end}\n"));
    }
}

#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn a_client_that_reads_while_the_server_is_paused_is_not_closed() {
    const LINES: usize = 400;
    let server = Server::start(&["-q", "--timeout", "1"]);
    let line = "x".repeat(65_536);
    let stream = server.connect();
    let writer = stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..LINES).for_each(|_| writeln!(&mut &writer, "{line}").unwrap());
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut replies = Vec::new();
        let mut part = [0; 65_536];
        // Reads more slowly than the server writes, so the server always waits for space.
        let mut take = || {
            let read = read_once(&stream, &mut part).unwrap();
            replies.extend_from_slice(&part[..read]);
            thread::sleep(MS);
            read
        };
        for _ in 0..100 {
            take();
        }
        server.pause();
        let paused = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(1200 * MS);
                server.resume();
            });
            while take() > 0 {}
        });
        assert!(paused.elapsed() > 1200 * MS);
        let expected = acknowledgement(&line).repeat(LINES);
        assert!(replies == expected.as_bytes(), "{} bytes", replies.len());
    });
}

/// Returns how many bytes of replies the server can write for a client that reads nothing.
fn unread_replies_that_fit() -> usize {
    let server = Server::start(&["-q", "--timeout", "0"]);
    let client = server.connect();
    flood(&client, 200 * MS);
    // While the server is paused, the client reads all that was written before.
    server.pause();
    client.set_read_timeout(Some(200 * MS)).unwrap();
    let mut bytes = 0;
    let mut part = [0; 65_536];
    while let Ok(read @ 1..) = read_once(&client, &mut part) {
        bytes += read;
    }
    bytes
}

#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn a_notice_is_whole_even_if_replies_nearly_fill_the_buffer() {
    const REPLY: usize = 60_000;
    let line_of = |reply: usize| "x".repeat(reply - acknowledgement("").len()) + "\n";
    let notice = "Server closed your connection: a line was not ended within 0.4 s\n";
    let room = unread_replies_that_fit();
    let server = Server::start(&["-q", "--timeout", "0.4"]);
    // If the buffer has less room than it had before, none of the notice arrives.
    let is_whole = |left: usize| {
        let client = server.connect();
        let replies = room - left;
        for reply in std::iter::repeat_n(REPLY, replies / REPLY).chain([replies % REPLY]) {
            (&client).write_all(line_of(reply).as_bytes()).unwrap();
        }
        (&client).write_all(b"begun").unwrap();
        // Reading begins after the close: earlier reading would make room for the notice.
        thread::sleep(600 * MS);
        match read_rest(client).get(replies..) {
            None | Some("") => false,
            Some(rest) => {
                assert_eq!(rest, notice);
                true
            }
        }
    };
    let whole = thread::scope(|scope| {
        let clients: Vec<_> = (0..notice.len())
            .step_by(8)
            .map(|left| scope.spawn(move || is_whole(left)))
            .collect();
        let whole = clients
            .into_iter()
            .filter_map(|client| client.join().unwrap().then_some(()));
        whole.count()
    });
    println!("{whole} notices came");
    assert!(whole > 0);
}

#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn repeated_pauses_of_the_server_do_not_postpone_a_deadline() {
    let server = Server::start(&["--timeout", "1", "--idle-timeout", "1"]);
    let [idle, begun] = [server.connect(), server.connect()];
    (&begun).write_all(b"begun").unwrap();
    // Each pause interrupts the reads, and the time limits of the reads begin again.
    let _pauses = Pauses::start(server.id());
    let notice = |why| format!("Server closed your connection: {why}\n");
    assert_eq!(read_rest(idle), notice("idle for 1 s"));
    // Both limits are the same, so either may pass first.
    let reasons = ["a line was not ended within 1 s", "idle for 1 s"];
    let expected = reasons.map(|why| format!("Server closed your connection: {why}{LF_HINT}\n"));
    let rest = read_rest(begun);
    assert!(expected.contains(&rest), "{rest}");
}

#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn repeated_pauses_of_the_client_do_not_postpone_a_deadline() {
    let silent = peer(|mut stream| _ = stream.read_to_end(&mut Vec::new()));
    let mut running = Running::start(&mut client(silent, &["--timeout", "1"]));
    let _pauses = Pauses::start(running.id());
    running.send("hello\n");
    running.process.await_end();
    let outcome = running.finish();
    outcome.assert_code(1);
    assert!(outcome.stderr.contains("no reply within 1 s"), "{outcome}");
}

#[test]
#[cfg_attr(windows, ignore = "needs signals")]
fn an_idle_client_whose_bytes_arrived_during_a_pause_is_not_closed() {
    let server = Server::start(&["--idle-timeout", "0.5"]);
    let clients = despite_load(|| {
        let clients = [(); 2].map(|()| server.connect());
        let begun = Instant::now();
        clients.iter().for_each(|client| ask_line(client, "hello"));
        server.pause();
        if begun.elapsed() >= 500 * MS {
            server.resume();
            return Err(format!("paused after {:?}", begun.elapsed()));
        }
        Ok(clients)
    });
    let [line, part] = &clients;
    writeln!(&mut &*line, "in time").unwrap();
    write!(&mut &*part, "in").unwrap();
    thread::sleep(700 * MS);
    server.resume();
    ask(line, "", acknowledgement("in time"));
    ask(part, " time\n", acknowledgement("in time"));
}

/// TCP itself gives up the connection, and reports that once (`ETIMEDOUT`). After that the
/// stream looks as if it had ended.
#[test]
#[cfg(target_os = "linux")]
fn a_vanished_network_path_is_not_an_end_of_the_stream() {
    let Some(network) = Network::start(&[]) else {
        return;
    };
    let Some(nc) = installed("nc") else {
        return;
    };
    let server = &network.server;
    let start = |mut command: Command| {
        let address = server.address;
        command.args([address.ip().to_string(), address.port().to_string()]);
        let mut running = Running::start(&mut network.run(&command));
        running.send("one\n");
        assert_eq!(
            running.read_line().trim_start_matches("Server: "),
            acknowledgement("one")
        );
        running
    };
    let mut raw = start(nc);
    let mut client = start(command(env!("CARGO_BIN_EXE_client")));
    network.drop_replies();
    raw.send("two\nbegun");
    client.send("two\n");
    client.process.await_end();
    let outcome = client.finish();
    outcome.assert_code(1);
    let timed_out = os_error(110);
    assert!(
        outcome
            .stderr
            .contains(&format!(": {timed_out} (2 sent, 1 answered)")),
        "{outcome}"
    );
    let log = server.log_with(&format!(" disconnected after 2 messages: {timed_out}"));
    assert!(!log.contains("begun"), "{log}");
}

#[test]
fn a_timeout_of_zero_means_no_limit() {
    let server = Server::start(&["--timeout", "0", "--idle-timeout", "0"]);
    let mut stream = server.connect();
    stream.write_all(b"begun").unwrap();
    thread::sleep(200 * MS);
    ask(&stream, "\n", acknowledgement("begun"));
}
