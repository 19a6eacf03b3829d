//! Where the server runs: a shell, a container, a service manager.

use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

use crate::util::{
    Running, Server, allow_open_files, ask_line, connect, is_ignored, number_in_proc, own_ip, run,
    server, temporary_file,
};

#[test]
fn a_default_shell_allows_as_many_clients_as_its_hard_limit() {
    const CLIENTS: usize = 1200;
    allow_open_files();
    let mut shell = Command::new("sh");
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
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        if is_ignored(code - 128) {
            continue;
        }
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]);
        command.args([env!("CARGO_BIN_EXE_server"), "--port", "0"]);
        let mut running = Running::start(&mut command);
        let announced = running.read_line();
        if announced.is_empty() {
            let outcome = running.finish();
            assert!(outcome.stderr.starts_with("unshare: "), "{outcome}");
            println!("skipped: {}", outcome.stderr);
            return;
        }
        let address = announced.trim_start_matches("Server listening on ");
        ask_line(&connect(address.trim_end().parse().unwrap()), "hello");
        running.signal_child(signal);
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
    run(&mut server(&["--inherit"]), "").assert(
        1,
        "",
        &format!("{no_socket}: Socket operation on non-socket (os error 88)\n"),
    );

    let path = temporary_file();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let shut_down = TcpListener::bind("127.0.0.1:0").unwrap();
    let shut_down = TcpStream::from(OwnedFd::from(shut_down));
    shut_down.shutdown(Shutdown::Both).unwrap();
    let inputs: [OwnedFd; 5] = [
        fs::File::open("/dev/null").unwrap().into(),
        UnixListener::bind(&path).unwrap().into(),
        UdpSocket::bind("127.0.0.1:0").unwrap().into(),
        connected.into(),
        shut_down.into(),
    ];
    for input in inputs {
        let mut command = server(&["--inherit"]);
        let output = command.stdin(Stdio::from(input)).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with(no_socket), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert_eq!(output.stdout, b"", "{stderr}");
    }
    fs::remove_file(path).unwrap();
}

#[test]
fn inherits_instead_of_an_address() {
    for other in ["--host=127.0.0.1", "--port=0"] {
        run(&mut server(&["--inherit", other]), "").assert_code(2);
    }
}

#[test]
fn systemd_takes_the_units() {
    let directory = temporary_file();
    fs::create_dir(&directory).unwrap();
    let units = ["tcp-chat.service", "tcp-chat.socket"].map(|name| {
        let unit = format!("{}/tests/neighbours/{name}", env!("CARGO_MANIFEST_DIR"));
        let unit = fs::read_to_string(unit).unwrap();
        let path = directory.join(name);
        // The program is not installed here.
        let installed = env!("CARGO_BIN_EXE_server");
        fs::write(&path, unit.replace("/usr/local/bin/server", installed)).unwrap();
        path
    });
    let mut command = Command::new("systemd-analyze");
    match command.arg("verify").args(units).output() {
        Err(error) => println!("skipped: systemd-analyze: {error}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{said}");
        }
    }
    fs::remove_dir_all(directory).unwrap();
}
