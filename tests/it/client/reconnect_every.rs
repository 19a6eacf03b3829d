//! `--reconnect-every`: a new connection for every so many lines.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{
    Server, accept, client, count_lines, eventually, fill_queue, installed, printed, run, spawn,
    take_report, temporary_file, unique_ip,
};

#[test]
fn reconnecting_every_n_lines_prints_every_reply_once() {
    let server = Server::start(&[]);
    let lines: String = (0..300).map(|line| format!("{line}\n")).collect();
    let mut connections = 0;
    for every in [1, 2, 7, 1000] {
        let mut runs = 0;
        let mut replies = 0;
        let mut reported = 0.0;
        for window in ["1", "8192"] {
            for more in [&[][..], &["--half-close"], &["--rate", "3000"]] {
                let report = temporary_file();
                let mut command = server.client(&["--window", window, "--reconnect-every"]);
                command.arg(every.to_string()).args(more);
                let outcome = run(command.arg("--report").arg(&report), &*lines);
                outcome.assert(0, printed(0..300), "");
                let report = take_report(&report);
                let needed = 300_u32.div_ceil(every);
                assert_eq!(
                    report["connections"].number(),
                    f64::from(needed),
                    "{outcome}"
                );
                assert_eq!(report["outage_count"].number(), 0.0);
                assert_eq!(report["lines"]["sent_again"].number(), 0.0);
                connections += needed as usize;
                runs += 1;
                replies += count_lines(&outcome.stdout);
                reported += report["connections"].number();
            }
        }
        println!(
            "--reconnect-every {every}: {runs} clients printed {replies} of {} replies, on \
             {reported} connections",
            runs * 300
        );
    }
    let log = server.log_with("");
    assert_eq!(log.matches("Accepted connection").count(), connections);
}

#[test]
fn with_reconnects_and_kills_every_reply_is_printed_once() {
    for every in ["1", "7"] {
        let mut server = Server::start(&["-q"]);
        let mut command = server.client(&["-q", "--retry-for", "30", "--reconnect-every", every]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = spawn(command.stderr(Stdio::piped()));
        let mut stdin = client.stdin.take().unwrap();
        let feeder = thread::spawn(move || {
            for line in 0..2000 {
                stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
                if line % 20 == 0 {
                    thread::sleep(Duration::from_millis(5));
                }
            }
        });
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(60));
            server.kill();
            server = Server::start_at(server.address, &["-q"]);
        }
        let outcome = client.finish();
        feeder.join().unwrap();
        outcome.assert(0, printed(0..2000), "");
    }
}

#[test]
fn an_empty_input_still_makes_one_connection() {
    let server = Server::start(&[]);
    run(&mut server.client(&["--reconnect-every", "1"]), "").assert(0, "", "");
    let log = server.log_with("disconnected");
    assert_eq!(log.matches("Accepted connection").count(), 1, "{log}");
}

#[test]
#[cfg_attr(windows, ignore = "needs /proc")]
fn connect_times_include_the_wait_for_a_full_listen_queue() {
    let listener = TcpListener::bind((unique_ip(), 0)).unwrap();
    let queue = fill_queue(&listener);
    let report = temporary_file();
    let begun = Instant::now();
    let mut command = client(listener.local_addr().unwrap(), &["--report"]);
    command.arg(&report).stdin(Stdio::null());
    let client = spawn(&mut command);
    // The attempt begins before its socket is visible, and cannot succeed yet.
    let descriptors = format!("/proc/{}/fd", client.id());
    eventually(|| {
        let descriptors = fs::read_dir(&descriptors).unwrap().flatten();
        let mut files = descriptors.flat_map(|descriptor| fs::read_link(descriptor.path()));
        let socket = files.find(|file| file.to_string_lossy().starts_with("socket:"));
        socket.ok_or_else(|| "no attempt".to_string())
    });
    let seen = Instant::now();
    thread::sleep(Duration::from_millis(300));
    let shortest = seen.elapsed().as_secs_f64() * 1000.0;
    let waited = queue.len();
    drop(queue);
    let accepted: Vec<_> = (0..=waited).map(|_| accept(&listener)).collect();
    client.finish().assert_code(0);
    drop(accepted);
    // The client may see the connection later than this side.
    let longest = begun.elapsed().as_secs_f64() * 1000.0;
    let report = take_report(&report);
    let connect_time = report["connect_time_ms"]["max"].number();
    assert!(
        (shortest..=longest).contains(&connect_time),
        "{connect_time} of {shortest} to {longest}"
    );
}

#[test]
fn used_up_local_ports_are_logged_and_the_run_goes_on() {
    let Some(mut unshare) = installed("unshare") else {
        return;
    };
    // Closed connections keep their ports for a minute, so it fails after six lines.
    let script = "ip link set lo up && cd /proc/sys/net/ipv4 && echo 40000 40005 > ip_local_port_range \
                  && echo 0 > tcp_tw_reuse || exit 77; \"$0\" --port 30000 -q & \
                  seq 20 | \"$1\" --port 30000 --reconnect-every 1 --retry-for 1; \
                  echo $?; kill $!";
    let (server, client) = (env!("CARGO_BIN_EXE_server"), env!("CARGO_BIN_EXE_client"));
    let outcome = run(unshare.args(["-n", "sh", "-c", script, server, client]), "");
    if outcome.status.code() == Some(77) || outcome.stderr.contains("unshare") {
        return crate::util::skip(outcome.stderr.trim_end());
    }
    let why = "no free local port; closed connections hold theirs for a minute (TIME-WAIT): ";
    assert!(outcome.stderr.contains(why), "{outcome}");
    assert!(
        outcome.stderr.contains("; trying again for up to 1 s"),
        "{outcome}"
    );
    assert!(outcome.stdout.ends_with(b"1\n"), "{outcome}");
}
