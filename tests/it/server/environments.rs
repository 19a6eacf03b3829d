//! The server as a shell, a container and a service manager start it: limits, process 1,
//! inherited sockets, systemd units.

use std::fs;
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as unix, UnixListener};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::util::{
    Running, Server, announced_address, as_process_1, ask_line, command, connect, eventually,
    installed, is_signal_ignored, may_open_files, may_start_threads, number_in_proc, os_error, run,
    run_from, server, signal, temporary_file, unique_ip, unique_name, unused_address,
};

#[test]
fn a_default_shell_allows_as_many_clients_as_its_hard_limit() {
    const CLIENTS: usize = 1200;
    if !may_open_files(6000) || !may_start_threads(1200) {
        return;
    }
    let mut shell = command("sh");
    let script = "ulimit -S -n 1024; exec \"$0\" --port 0 --max-clients 1200";
    let server = Server::spawn(shell.args(["-c", script, env!("CARGO_BIN_EXE_server")]));
    assert!(!server.log().contains("At most"), "{}", server.log());
    let soft = number_in_proc(server.id(), "limits", "Max open files", 0);
    // The server raises its limit to what it needs, and no further.
    assert!(
        (1200 + 256 + 4096..6000).contains(&soft.unwrap()),
        "{soft:?}"
    );
    let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients.iter().for_each(|client| ask_line(client, "hello"));

    // The server does not lower a limit.
    let server = Server::start(&["--max-clients", "1"]);
    let limit = |of| number_in_proc(of, "limits", "Max open files", 0);
    assert_eq!(limit(server.id()), limit(std::process::id()));
}

#[test]
fn as_process_1_the_server_ends_on_a_signal() {
    for (signal, number, code) in [("TERM", 15, 0), ("INT", 2, 130), ("HUP", 1, 129)] {
        if is_signal_ignored(number) {
            continue;
        }
        let Some(mut as_process_1) = as_process_1(&server(&["--port", "0"])) else {
            return;
        };
        let mut running = Running::start(&mut as_process_1);
        let announced = running.read_line();
        ask_line(&connect(announced_address(&announced).unwrap()), "hello");
        running.signal_child(signal);
        running.process.await_end();
        let outcome = running.finish();
        outcome.assert_code(code);
        println!(
            "as process 1, the server ended on SIG{signal} with {}",
            outcome.status
        );
    }
}

#[test]
fn an_inherited_socket_outlives_the_server_and_refuses_nobody() {
    let listener = TcpListener::bind((unique_ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    // Another process that shares the socket may have set this.
    listener.set_nonblocking(true).unwrap();
    let start = || {
        let input = OwnedFd::from(listener.try_clone().unwrap());
        Server::spawn_with_input(&mut server(&["--inherit"]), input)
    };
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let connects = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                TcpStream::connect(address).unwrap();
                // The queue must be long enough for the time without a server.
                thread::sleep(Duration::from_millis(1));
            }
        });
        for _ in 0..12 {
            let waits = connect(address);
            let mut server = start();
            assert_eq!(server.address, address);
            ask_line(&waits, "hello");
            ask_line(&server.connect(), "hello");
            server.kill();
        }
        let _last = start();
        ended.store(true, Ordering::Relaxed);
        connects.join().unwrap();
    });
}

#[test]
fn inherits_and_announces_only_a_listening_tcp_socket() {
    let no_socket = "server: no listening TCP socket is inherited, neither as standard input nor as descriptor 3 (LISTEN_PID, LISTEN_FDS=1)";
    run(&mut server(&["--inherit"]), "").assert(1, "", &format!("{no_socket}: {}\n", os_error(88)));

    let unix = unix::SocketAddr::from_abstract_name(unique_name()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let shut_down = TcpListener::bind("127.0.0.1:0").unwrap();
    let shut_down = TcpStream::from(OwnedFd::from(shut_down));
    shut_down.shutdown(Shutdown::Both).unwrap();
    let inputs: [OwnedFd; 5] = [
        fs::File::open("/dev/null").unwrap().into(),
        UnixListener::bind_addr(&unix).unwrap().into(),
        UdpSocket::bind("127.0.0.1:0").unwrap().into(),
        connected.into(),
        shut_down.into(),
    ];
    for input in inputs {
        let outcome = run_from(&mut server(&["--inherit"]), input);
        outcome.assert_code(1);
        assert!(outcome.stderr.starts_with(no_socket), "{outcome}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
        assert_eq!(outcome.stdout, b"", "{outcome}");
    }
}

/// Returns a command for a shell that becomes the server with the variables of systemd.
/// The redirections may pass its standard input on as descriptor 3.
fn passing(listen_pid: &str, listen_fds: &str, redirections: &str) -> Command {
    let mut shell = command("sh");
    let script = format!(
        "LISTEN_PID={listen_pid} LISTEN_FDS={listen_fds} exec \"$0\" --inherit {redirections}"
    );
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_server")]);
    shell
}

#[test]
fn serves_a_socket_that_systemd_passes() {
    let listener = || OwnedFd::from(TcpListener::bind((unique_ip(), 0)).unwrap());
    let mut passed = passing("$$", "1", "3<&0 0</dev/null");
    let server = Server::spawn_with_input(&mut passed, listener());
    ask_line(&server.connect(), "hello");

    // The variables are for another process, so standard input is the socket.
    for (pid, fds) in [("1", "1"), ("", ""), ("1", "7")] {
        let server = Server::spawn_with_input(&mut passing(pid, fds, ""), listener());
        ask_line(&server.connect(), "hello");
    }

    for (fds, redirections, why) in [
        (
            "2",
            "3<&0 0</dev/null",
            "LISTEN_FDS is \"2\", and this serves exactly 1 socket".to_string(),
        ),
        (
            "",
            "3<&0 0</dev/null",
            "LISTEN_FDS is \"\", and this serves exactly 1 socket".to_string(),
        ),
        // By then the server has opened another file as descriptor 3.
        ("1", "3<&- 0</dev/null", os_error(88)),
        ("1", "3</dev/null 0</dev/null", os_error(88)),
    ] {
        let outcome = run_from(&mut passing("$$", fds, redirections), listener());
        outcome.assert_code(1);
        assert!(
            outcome.stderr.contains("LISTEN_PID, LISTEN_FDS=1"),
            "{outcome}"
        );
        assert!(outcome.stderr.ends_with(&format!(": {why}\n")), "{outcome}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
    }
}

#[test]
fn systemd_socket_activate_starts_it_at_the_first_connection() {
    let Some(mut activate) = installed("systemd-socket-activate") else {
        return;
    };
    let address = unused_address();
    activate
        .arg("-l")
        .arg(address.to_string())
        .arg(env!("CARGO_BIN_EXE_server"));
    let mut running = Running::start(activate.args(["--inherit", "-q"]));
    let client = eventually(|| TcpStream::connect(address).map_err(|error| error.to_string()));
    ask_line(&client, "hello");
    drop(client);
    signal(running.id(), "TERM");
    running.process.await_end();
}

#[test]
fn inherit_excludes_host_and_port() {
    for other in ["--host=127.0.0.1", "--port=0"] {
        run(&mut server(&["--inherit", other]), "").assert_code(2);
    }
}

#[test]
fn systemd_accepts_the_units() {
    let Some(mut analyze) = installed("systemd-analyze") else {
        return;
    };
    let directory = temporary_file();
    fs::create_dir(&directory).unwrap();
    let units = ["tcp-chat.service", "tcp-chat.socket"].map(|name| {
        let unit = format!("{}/tests/neighbours/{name}", env!("CARGO_MANIFEST_DIR"));
        let unit = fs::read_to_string(unit).unwrap();
        let path = directory.join(name);
        // The program is not installed here.
        let installed = format!("\"{}\"", env!("CARGO_BIN_EXE_server"));
        fs::write(&path, unit.replace("/usr/local/bin/server", &installed)).unwrap();
        path
    });
    run(analyze.arg("verify").args(units), "").assert(0, "", "");
    fs::remove_dir_all(directory).unwrap();
}
