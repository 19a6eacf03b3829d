//! What a client measures.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::programs::naive_client;
use crate::subject::{Subject, contains};
use crate::util::{
    HANG_LIMIT, Probe, Running, Server, accept, acknowledgement, ask, ask_line, await_refusal,
    client, connect, os_error, pause, printed, read_once, replying_peer, run, signal, take_report,
    temporary_file, unique_ip,
};

const MS: Duration = Duration::from_millis(1);

/// How many replies a second a client gets that waits for each of so many.
pub fn lockstep_rate(subject: &Subject, lines: usize) -> f64 {
    let mut stream = subject.connect();
    let begun = Instant::now();
    for number in 0..lines {
        let line = format!("line {number}\n");
        stream.write_all(line.as_bytes()).unwrap();
        let text = line.trim_end();
        assert!(
            subject
                .read_until(&stream, |bytes| contains(bytes, text))
                .contains(text)
        );
    }
    lines as f64 / begun.elapsed().as_secs_f64()
}

#[test]
fn nagle_waits_for_a_delayed_acknowledgement() {
    const LINES: usize = 20;
    let server = Server::start(&["-q"]);
    // As one adds framing to the naive client: the LF in a separate write.
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
    println!("naive: two writes a line; half of {LINES} replies took {naive:.0?} or more");
    assert!(naive > 30 * MS, "{times:?}");

    let report = temporary_file();
    let mut client = server.client(&["--window", "1", "--report"]);
    let input = "hello\n".repeat(LINES);
    run(client.arg(&report), input).assert(0, printed(["hello"; LINES]), "");
    let real = take_report(&report)["reply_time_ms"]["p50"].number();
    println!("real:  one write a line; half of {LINES} replies took {real:.1} ms or more");
    assert!(real < 30.0, "{real} ms");
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
        println!(
            "the {who} was paused for 1 s: replies took up to {reply:.0} ms, the client itself {own:.0} ms"
        );
        assert!(reply > 980.0, "{reply} ms");
    }
    // A busy machine delays the client, too, but not as long.
    assert!(of_server[1] < 900.0 && of_client[1] > 980.0);
}

#[test]
fn a_long_connection_hides_refusals() {
    // Takes what it reads for a message, as the naive server does.
    let answer = |mut stream: &TcpStream| {
        let mut message = [0; 1024];
        let length = read_once(stream, &mut message).unwrap();
        let reply = [b"Server received your message: ", &message[..length]].concat();
        stream.write_all(&reply).unwrap();
    };
    let listener = TcpListener::bind((unique_ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut naive = Running::start(&mut naive_client(address));
    let stays = accept(&listener);
    let mut real = Running::start(&mut client(address, &["--reconnect-every", "1"]));
    real.send("one\n");
    answer(&accept(&listener));
    assert_eq!(real.read_line(), printed(["one"]));

    // As a balancer does that is reloaded: what is there goes on.
    drop(listener);
    await_refusal(address);
    naive.send("two\n");
    answer(&stays);
    real.send("two\n");
    let line = naive.read_line();
    println!("naive: {line:?}, and nothing is wrong");
    assert_eq!(
        line,
        format!("Enter message: Server: {}", acknowledgement("two"))
    );
    naive.stdin.take();
    naive.finish().assert(0, "Enter message: ", "");
    let real = real.finish();
    print!("real:  {}", real.stderr);
    assert!(real.stderr.contains(&os_error(111)), "{real}");
    real.assert(1, "", &real.stderr);
}
