//! Who waits for whom, and for how long.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use tcp_chat::system;

use crate::programs::{naive_server, read_to_end, repaired_server, write_until_error};
use crate::util::{
    HANG_LIMIT, Probe, Server, acknowledgement, ask, ask_line, client, connect, eventually, pause,
    printed, replying_peer, run, signal, take_report, temporary_file, uninterrupted,
};

const MS: Duration = Duration::from_millis(1);

#[test]
fn nagle_waits_for_a_delayed_acknowledgement() {
    const LINES: usize = 20;
    let server = Server::start(&["-q"]);
    // As one adds framing to the naive client: the LF in a write of its own.
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(HANG_LIMIT)).unwrap();
    let mut times: Vec<Duration> = (0..LINES)
        .map(|_| {
            let begun = Instant::now();
            (&stream).write_all(b"hello").unwrap();
            ask(&stream, "\n", acknowledgement("hello"));
            begun.elapsed()
        })
        .collect();
    times.sort();
    let naive = times[LINES / 2];
    println!("naive: half of the replies took {naive:?} or more");
    assert!(naive > 30 * MS, "{times:?}");

    let report = temporary_file();
    let mut client = server.client(&["--window", "1", "--report"]);
    let input = "hello\n".repeat(LINES);
    run(client.arg(&report), input).assert(0, printed(["hello"; LINES]), "");
    let real = take_report(&report)["reply_time_ms"]["p50"].number();
    println!("real:  {real:.3} ms");
    assert!(real < 30.0, "{real} ms");
}

/// Waits until a server has so many threads again.
fn await_threads(server: &Server, threads: u64) {
    eventually(|| match server.status("Threads") {
        now if now == threads => Ok(()),
        now => Err(format!("{now} threads in place of {threads}")),
    });
}

#[test]
fn a_client_that_sends_slowly_holds_a_thread() {
    const DRIPS: usize = 5;
    // Both give up who is silent for a second.
    let servers = [repaired_server(), Server::start(&["--timeout", "1"])];
    let [naive, real] = &servers;
    let threads = servers.each_ref().map(|server| server.status("Threads"));
    let clients = servers
        .each_ref()
        .map(|server| [(); DRIPS].map(|()| server.connect()));
    let begun = Instant::now();
    // The naive one's last client is still served when all of the real one's are gone.
    let drips = || {
        clients
            .as_flattened()
            .iter()
            .filter(|client| (&**client).write_all(b"x").is_ok())
    };
    while drips().count() > DRIPS {
        assert!(begun.elapsed() < HANG_LIMIT, "no client was given up");
        thread::sleep(20 * MS);
    }
    let after = begun.elapsed();
    println!(
        "repaired: {} threads more after {after:?}",
        naive.status("Threads") - threads[0]
    );
    assert_eq!(naive.status("Threads") - threads[0], DRIPS as u64);
    println!("real:  each client was told why it was closed");
    let [_, clients] = clients;
    for client in clients {
        let told = read_to_end(client);
        let notice = "Server closed your connection: a line was not ended within 1 s";
        assert!(told.starts_with(notice), "{told:?}");
    }
    await_threads(real, threads[1]);
}

#[test]
fn a_peer_that_does_not_read_holds_a_thread() {
    let naive = naive_server();
    let real = Server::start(&["-q", "--timeout", "0.3"]);
    let threads = [&naive, &real].map(|server| server.status("Threads"));
    let flood = |server: &Server, patience| {
        let stream = server.connect();
        stream.set_write_timeout(Some(patience)).unwrap();
        let lines = format!("{}\n", "x".repeat(1000)).repeat(100);
        let error = write_until_error(&stream, lines.as_bytes());
        (error, stream)
    };
    let (error, _naive_stream) = flood(&naive, 300 * MS);
    println!("naive: takes no more, and its thread waits for ever");
    assert!(system::is_timeout(&error), "{error}");
    let (error, _real_stream) = flood(&real, HANG_LIMIT);
    println!("real:  has closed: {error}");
    assert!(!system::is_timeout(&error), "{error}");
    assert_eq!(naive.status("Threads"), threads[0] + 1);
    await_threads(&real, threads[1]);
}

#[test]
fn both_sides_write_and_neither_reads() {
    const LINES: usize = 20 << 10;
    let line = "x".repeat(1023);
    let input = format!("{line}\n").repeat(LINES);
    // Sends everything first, to read the replies then.
    let naive = naive_server();
    let stream = naive.connect();
    stream.set_write_timeout(Some(500 * MS)).unwrap();
    let mut sent = 0;
    let error = loop {
        match uninterrupted(|| (&stream).write(&input.as_bytes()[sent..])) {
            Ok(written) => sent += written,
            Err(error) => break error,
        }
        assert!(sent < input.len(), "all was sent");
    };
    println!(
        "naive: both sides wait for ever after {sent} of {} bytes",
        input.len()
    );
    assert!(system::is_timeout(&error), "{error}");
    let server = Server::start(&["-q"]);
    run(&mut server.client(&[]), input).assert(0, printed(vec![line; LINES]), "");
    println!("real:  all bytes are sent and answered");
}

#[test]
fn waiting_for_each_reply_hides_a_stall() {
    const LINES: usize = 100;
    let stalls = || {
        replying_peer(|number, line| {
            if number == 20 {
                thread::sleep(500 * MS);
            }
            acknowledgement(line)
        })
    };
    let p90 = thread::scope(|scope| {
        let naive = scope.spawn(|| {
            let stream = connect(stalls());
            let mut times = [(); LINES].map(|()| {
                thread::sleep(10 * MS);
                let begun = Instant::now();
                ask_line(&stream, "hello");
                begun.elapsed()
            });
            times.sort();
            times[LINES * 9 / 10].as_secs_f64() * 1000.0
        });
        let report = temporary_file();
        // It waits for each reply as well, but each line has its place.
        let args = ["--window", "1", "--rate", "100", "--report"];
        let mut client = client(stalls(), &args);
        let input = "hello\n".repeat(LINES);
        run(client.arg(&report), input).assert(0, printed(["hello"; LINES]), "");
        let real = take_report(&report)["reply_time_ms"]["p90"].number();
        [naive.join().unwrap(), real]
    });
    let [naive, real] = p90;
    println!(
        "a stall of 500 ms in a run of a second: p90 {naive:.1} ms to the naive client, {real:.1} ms to the real one"
    );
    assert!(p90[0] < 200.0 && p90[1] > 300.0, "{p90:?}");
}

#[test]
fn a_paused_client_looks_like_a_paused_server() {
    // Reply times alone are all that most clients have.
    let longest = |stops_client: bool| {
        let server = Server::start(&["-q"]);
        let probe = Probe::start(server.address, &["--rate", "100"]);
        probe.await_replies(10);
        let id = if stops_client {
            probe.id()
        } else {
            server.id()
        };
        pause(id);
        thread::sleep(1000 * MS);
        signal(id, "CONT");
        probe.await_replies(50);
        let (report, _) = probe.interrupt();
        ["reply_time_ms", "own_delay_ms"].map(|name| report[name]["max"].number())
    };
    let [of_server, of_client] = thread::scope(|scope| {
        let of_client = scope.spawn(|| longest(true));
        [longest(false), of_client.join().unwrap()]
    });
    for (who, [reply, own]) in [("server", of_server), ("client", of_client)] {
        println!("the {who} stopped: replies took up to {reply} ms, the client itself {own} ms");
        assert!(reply > 980.0, "{reply} ms");
    }
    // A busy machine delays the client, too, but not as long.
    assert!(of_server[1] < 900.0 && of_client[1] > 980.0);
}
