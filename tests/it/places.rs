//! Where the server runs: a shell, a container, a service manager.

use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as unix, UnixListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

use crate::util::{
    Running, Server, ask_line, command, connect, is_ignored, may_open, may_start, number_in_proc,
    os_error, own_ip, own_name, process_1, program, run, run_from, server, temporary_file,
};

#[test]
fn a_default_shell_allows_as_many_clients_as_its_hard_limit() {
    const CLIENTS: usize = 1200;
    if !may_open(2000) || !may_start(1200) {
        return;
    }
    let mut shell = command("sh");
    let script = "ulimit -S -n 1024; exec \"$0\" --port 0 --max-clients 1200";
    let server = Server::spawn(shell.args(["-c", script, env!("CARGO_BIN_EXE_server")]));
    assert!(!server.log().contains("At most"), "{}", server.log());
    let soft = number_in_proc(server.id(), "limits", "Max open files", 0);
    // Enough, and not the whole hard limit.
    assert!((1200 + 256..2000).contains(&soft.unwrap()), "{soft:?}");
    let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients.iter().for_each(|client| ask_line(client, "hello"));

    // What is allowed already stays.
    let server = Server::start(&["--max-clients", "1"]);
    let limit = |of| number_in_proc(of, "limits", "Max open files", 0);
    assert_eq!(limit(server.id()), limit(std::process::id()));
}

#[test]
fn as_process_1_it_ends_on_a_signal() {
    for (signal, number, code) in [("TERM", 15, 0), ("INT", 2, 130), ("HUP", 1, 129)] {
        if is_ignored(number) {
            continue;
        }
        let Some(mut process_1) = process_1(&server(&["--port", "0"])) else {
            return;
        };
        let mut running = Running::start(&mut process_1);
        let announced = running.read_line();
        let address = announced.trim_start_matches("Server listening on ");
        ask_line(&connect(address.trim_end().parse().unwrap()), "hello");
        running.signal_child(signal);
        running.process.await_end();
        running.finish().assert_code(code);
    }
}

#[test]
fn an_inherited_socket_outlives_the_server_and_refuses_nobody() {
    let listener = TcpListener::bind((own_ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    // Whoever shares the socket may have set this.
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
                // So that the queue is long enough for the time without a server.
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
fn inherits_and_announces_nothing_but_a_listening_tcp_socket() {
    let no_socket = "server: cannot serve standard input, which is no listening TCP socket";
    run(&mut server(&["--inherit"]), "").assert(1, "", &format!("{no_socket}: {}\n", os_error(88)));

    let unix = unix::SocketAddr::from_abstract_name(own_name()).unwrap();
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

#[test]
fn inherits_instead_of_an_address() {
    for other in ["--host=127.0.0.1", "--port=0"] {
        run(&mut server(&["--inherit", other]), "").assert_code(2);
    }
}

#[test]
fn systemd_takes_the_units() {
    let Some(mut analyze) = program("systemd-analyze") else {
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
