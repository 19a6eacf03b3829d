//! What the server does to who is slow or silent.

use std::io::{Read, Write};
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    Canary, Server, ask, ask_line, eventually, last_words, os_error, read_line, received,
};

const MS: Duration = Duration::from_millis(1);

#[test]
fn closes_an_idle_client_with_a_notice() {
    let server = Server::start(&["--idle-timeout", "0.3"]);
    let silent = server.connect();
    let spoke = server.connect();
    ask_line(&spoke, "hello");
    for stream in [spoke, silent] {
        let address = stream.local_addr().unwrap();
        let begun = Instant::now();
        let text = last_words(stream);
        let elapsed = begun.elapsed();
        assert_eq!(text, "Server closed your connection: idle for 0.3 s\n");
        assert!(elapsed < 2000 * MS, "{elapsed:?}");
        server.log_with(&format!("{address} disconnected after "));
    }
}

#[test]
fn never_closes_an_idle_client_early() {
    let server = Server::start(&["--idle-timeout", "0.3"]);
    let stream = server.connect();
    let begun = Instant::now();
    last_words(stream);
    let elapsed = begun.elapsed();
    assert!(elapsed >= 299 * MS, "{elapsed:?}");
}

#[test]
fn many_short_waits_add_up_to_no_late_deadline() {
    // Each wait of 1 ms takes some clock ticks, of up to 10 ms each.
    let server = Server::start(&["--idle-timeout", "1", "--timeout", "0.001"]);
    let stream = server.connect();
    ask_line(&stream, "hello");
    let begun = Instant::now();
    assert_eq!(
        last_words(stream),
        "Server closed your connection: idle for 1 s\n"
    );
    let elapsed = begun.elapsed();
    assert!((999 * MS..1300 * MS).contains(&elapsed), "{elapsed:?}");
}

#[test]
fn a_client_that_sends_a_line_now_and_then_is_not_idle() {
    let server = Server::start(&["--idle-timeout", "0.4"]);
    let stream = server.connect();
    for _ in 0..8 {
        thread::sleep(100 * MS);
        ask_line(&stream, "hello");
    }
}

#[test]
fn dripping_bytes_does_not_extend_the_deadline_of_a_line() {
    let server = Server::start(&["--timeout", "0.3"]);
    let stream = server.connect();
    let writer = stream.try_clone().unwrap();
    let drip = thread::spawn(move || {
        // Until the server has closed.
        while (&writer).write_all(b"x").is_ok() {
            thread::sleep(20 * MS);
        }
    });
    let begun = Instant::now();
    let text = last_words(stream);
    let elapsed = begun.elapsed();
    assert_eq!(
        text,
        "Server closed your connection: a line was not ended within 0.3 s\n"
    );
    assert!((299 * MS..1000 * MS).contains(&elapsed), "{elapsed:?}");
    drip.join().unwrap();
}

#[test]
fn the_deadline_of_a_line_begins_with_each_line() {
    let server = Server::start(&["--timeout", "0.3"]);
    let stream = server.connect();
    ask(&stream, "\nbegun", received(""));
    for _ in 0..6 {
        thread::sleep(100 * MS);
        // One read ends a line and begins the next.
        ask(&stream, " and ended\nbegun", received("begun and ended"));
    }
}

#[test]
fn a_client_that_takes_no_replies_or_drips_is_closed_in_time_and_costs_little() {
    let server = Server::start(&["-q", "--timeout", "0.3"]);
    let canary = Canary::start(&server);
    let before = server.status("VmHWM");
    let flood = |mut stream: &TcpStream| {
        // The worst case: each LF asks for 31 bytes.
        let lines = vec![b'\n'; 1 << 20];
        let begun = Instant::now();
        while stream.write_all(&lines).is_ok() {}
        let elapsed = begun.elapsed();
        assert!(elapsed < 10_000 * MS, "not closed in {elapsed:?}");
    };
    let [takes_nothing, drips] = [server.connect(), server.connect()];
    thread::scope(|scope| {
        scope.spawn(|| flood(&takes_nothing));
        let drips_on = scope.spawn(|| flood(&drips));
        while !drips_on.is_finished() {
            let _ = (&drips).read(&mut [0]);
            thread::sleep(10 * MS);
        }
    });
    let grown = server.status("VmHWM") - before;
    assert!(grown < 1024, "two that take nothing cost {grown} KB");
    canary.stop();
}

#[test]
fn the_buffers_of_a_client_that_has_gone_quiet_are_given_back() {
    let server = Server::start(&["-q", "--timeout", "0.2"]);
    let clients: Vec<TcpStream> = (0..300).map(|_| server.connect()).collect();
    for client in &clients {
        ask_line(client, "small");
    }
    let before = server.status("VmRSS");
    let long = "x".repeat(60_000);
    for client in &clients {
        ask_line(client, &long);
    }
    // Each held 128 KB; what the allocator keeps back is shared by all.
    eventually(|| match server.status("VmRSS") - before {
        grown if grown < 300 * 16 => Ok(()),
        grown => Err(format!(
            "300 quiet clients still hold {grown} KB more than before"
        )),
    });
}

#[test]
fn the_buffers_of_a_client_that_goes_on_with_short_lines_are_given_back() {
    let server = Server::start(&["-q"]);
    let clients: Vec<TcpStream> = (0..300).map(|_| server.connect()).collect();
    let all_ask = |line: &str, times: usize| {
        (0..times).for_each(|_| clients.iter().for_each(|client| ask_line(client, line)));
        server.status("VmRSS")
    };
    let before = all_ask("small", 1);
    let long = "x".repeat(65_536);
    // A client that sends long lines now and then keeps the room for them.
    let held = all_ask(&long, 1) - before;
    assert!(held > 300 * 64, "only {held} KB are held after a long line");
    for _ in 0..3 {
        all_ask("small", 30);
        all_ask(&long, 1);
    }
    let kept = all_ask("small", 30) - before;
    assert!(kept > held / 10 * 9, "of {held} KB, {kept} KB were kept");
    let grown = all_ask("small", 10).saturating_sub(before);
    println!("300 clients hold {kept} KB after a long line, {grown} KB after 40 short ones");
    assert!(grown < 300 * 16, "300 clients still hold {grown} KB");
}

#[test]
fn a_line_that_came_while_the_server_was_stopped_is_answered() {
    let server = Server::start(&["--timeout", "0.8"]);
    let [ended, half_closed, late] = [(); 3].map(|()| server.connect());
    for client in [&ended, &half_closed, &late] {
        ask(client, "\nbegun", received(""));
    }
    server.stop();
    // More than the server reads at once.
    let rest = "x".repeat(5000);
    writeln!(&mut &ended, "{rest}").unwrap();
    write!(&mut &half_closed, "{rest}").unwrap();
    half_closed.shutdown(Shutdown::Write).unwrap();
    write!(&mut &late, "{rest}").unwrap();
    thread::sleep(1000 * MS);
    server.go_on();
    let begun = Instant::now();
    let notice = "Server closed your connection: a line was not ended within 0.8 s\n";
    assert_eq!(last_words(late), notice);
    // What came of the line does not begin its time anew.
    assert!(begun.elapsed() < 600 * MS, "{:?}", begun.elapsed());
    let reply = received(&format!("begun{rest}"));
    assert_eq!(read_line(&ended), reply);
    assert_eq!(last_words(half_closed), reply);
    ask_line(&ended, "still served");
}

#[test]
fn the_log_tells_a_client_that_takes_no_replies_from_one_that_is_gone() {
    let line = "x".repeat(65_536) + "\n";
    for (timeout, end) in [
        ("0.3", "replies were not taken in time".to_string()),
        ("0", os_error(104)),
    ] {
        let server = Server::start(&["--timeout", timeout]);
        let client = server.connect();
        client.set_write_timeout(Some(500 * MS)).unwrap();
        while (&client).write_all(line.as_bytes()).is_ok() {}
        drop(client);
        server.log_with(&format!(" messages: {end}\n"));
    }
}

#[test]
fn a_client_that_takes_its_replies_while_the_server_is_stopped_is_served_on() {
    const LINES: usize = 400;
    let server = Server::start(&["-q", "--timeout", "0.3"]);
    let line = "x".repeat(65_536);
    let mut stream = server.connect();
    let writer = stream.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..LINES).for_each(|_| writeln!(&mut &writer, "{line}").unwrap());
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut replies = Vec::new();
        let mut part = [0; 65_536];
        // Slower than the server writes, so that it always waits for room.
        let mut take = || {
            let read = stream.read(&mut part).unwrap();
            replies.extend_from_slice(&part[..read]);
            thread::sleep(MS);
            read
        };
        (0..100).for_each(|_| _ = take());
        server.stop();
        let stopped = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(500 * MS);
                server.go_on();
            });
            while take() > 0 {}
        });
        assert!(stopped.elapsed() > 500 * MS);
        let expected = received(&line).repeat(LINES);
        assert!(replies == expected.as_bytes(), "{} bytes", replies.len());
    });
}

/// How many bytes the server has written to this client that the client has not
/// read: those that the kernel holds at both ends.
fn unread(client: &TcpStream) -> usize {
    let ends = [client.local_addr().unwrap(), client.peer_addr().unwrap()];
    let [here, there] = ends.map(|end| match end {
        SocketAddr::V4(end) => {
            let ip = u32::from_ne_bytes(end.ip().octets());
            format!("{ip:08X}:{:04X}", end.port())
        }
        SocketAddr::V6(_) => unreachable!("{end}"),
    });
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let queue = |ends: &str, number| {
        let (_, line) = table.split_once(ends).unwrap();
        let queues = line.split_whitespace().nth(1).unwrap();
        usize::from_str_radix(queues.split(':').nth(number).unwrap(), 16).unwrap()
    };
    queue(&format!("{there} {here}"), 0) + queue(&format!("{here} {there}"), 1)
}

#[test]
fn a_notice_is_whole_though_replies_nearly_fill_the_buffer() {
    let server = Server::start(&["--timeout", "0.4"]);
    let line_of = |reply: usize| "x".repeat(reply - received("").len()) + "\n";
    const REPLY: usize = 60_000;

    // How much is written for a client that reads nothing?
    let full = server.connect();
    let writer = full.try_clone().unwrap();
    let flood =
        thread::spawn(move || while (&writer).write_all(line_of(REPLY).as_bytes()).is_ok() {});
    let mut before = 0;
    let room = eventually(|| {
        thread::sleep(20 * MS);
        let now = unread(&full);
        match now > 0 && now == mem::replace(&mut before, now) {
            true => Ok(now),
            false => Err(format!("{now} bytes are unread, and it goes on")),
        }
    });
    drop(full);
    flood.join().unwrap();

    let notice = "Server closed your connection: a line was not ended within 0.4 s\n";
    let clients: Vec<(usize, TcpStream)> = (0..notice.len())
        .step_by(8)
        .map(|left| {
            let client = server.connect();
            let replies = room - left;
            for reply in std::iter::repeat_n(REPLY, replies / REPLY).chain([replies % REPLY]) {
                (&client).write_all(line_of(reply).as_bytes()).unwrap();
            }
            (&client).write_all(b"begun").unwrap();
            (replies, client)
        })
        .collect();
    let mut whole = 0;
    for (replies, client) in clients {
        let address = client.local_addr().unwrap();
        server.log_with(&format!("{address} disconnected"));
        // Where the buffer has less room than it had before, there is none at all.
        match last_words(client).get(replies..) {
            None | Some("") => {}
            Some(rest) => {
                assert_eq!(rest, notice);
                whole += 1;
            }
        }
    }
    assert!(whole > 0);
}

#[test]
fn a_timeout_of_zero_is_for_ever() {
    let server = Server::start(&["--timeout", "0", "--idle-timeout", "0"]);
    let mut stream = server.connect();
    stream.write_all(b"begun").unwrap();
    thread::sleep(200 * MS);
    ask(&stream, "\n", received("begun"));
}
