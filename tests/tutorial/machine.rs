//! Limits of the machine.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::programs::{naive, naive_server, read_to_end, repaired_server, serve, show_log};
use crate::util::{
    Server, acknowledgement, ask, ask_line, await_refusal, eventually, may_start_threads,
    read_line, server, with_thread_limit,
};

#[test]
fn the_queue_of_new_connections_overflows() {
    const CLIENTS: usize = 200;
    let connect_to = |server: Server| {
        server.pause();
        // Less than the second after which a SYN is repeated.
        let patience = Duration::from_millis(500);
        let connect = |_| TcpStream::connect_timeout(&server.address, patience).ok();
        (0..CLIENTS).map_while(connect).collect::<Vec<_>>().len()
    };
    let naive = connect_to(naive_server());
    let real = connect_to(Server::start(&[]));
    println!(
        "while the server is busy, {naive} can connect to the naive one, {real} to the real one"
    );
    assert!(naive < CLIENTS);
    assert_eq!(real, CLIENTS);
}

/// Connects more clients than there are descriptors for, where they can be limited.
fn exhaust(server: &Server) -> Option<Vec<TcpStream>> {
    if !server.limit_open_files(40) {
        return None;
    }
    let connect = |_| TcpStream::connect(server.address).ok();
    let clients = (0..120).filter_map(connect).collect();
    // A panic shows the number in another way.
    eventually(|| {
        let log = server.log();
        let is_told = ["code: 24,", "(os error 24)"].map(|told| log.contains(told));
        is_told.contains(&true).then_some(()).ok_or(log)
    });
    Some(clients)
}

#[test]
fn without_descriptors_the_loop_dies() {
    let server = naive_server();
    let served = server.connect();
    ask(&served, "hello", acknowledgement("hello").trim_end());
    let Some(_clients) = exhaust(&server) else {
        return;
    };
    show_log(&server);
    // All who were served are lost with it.
    let end = read_to_end(served);
    println!("naive: its first client reads {end:?}");
    await_refusal(server.address);
}

#[test]
fn without_descriptors_the_repaired_loop_spins() {
    let complaints = |server: &Server| server.log().matches("Cannot accept a connection: ").count();
    let naive = repaired_server();
    let Some(_clients) = exhaust(&naive) else {
        return;
    };
    let begun = Instant::now();
    eventually(|| match complaints(&naive) {
        100.. => Ok(()),
        complaints => Err(format!("{complaints} complaints")),
    });
    println!(
        "repaired: {} lines of log after {:?}",
        complaints(&naive),
        begun.elapsed()
    );
    drop(naive);

    let real = Server::start(&[]);
    let served = real.connect();
    ask_line(&served, "hello");
    let begun = Instant::now();
    let clients = exhaust(&real).unwrap();
    thread::sleep(Duration::from_millis(300));
    println!(
        "real:     {} after {:?}",
        complaints(&real),
        begun.elapsed()
    );
    // One a second.
    let expected = 1..=1 + begun.elapsed().as_secs() as usize;
    assert!(expected.contains(&complaints(&real)), "{}", real.log());
    ask_line(&served, "still served");
    real.limit_open_files(400);
    clients
        .iter()
        .for_each(|client| ask_line(client, "at last"));
}

#[test]
fn without_threads_spawn_panics() {
    let real = server(&["-q", "--port", "0"]);
    let (Some(mut naive), Some(mut real)) = (
        with_thread_limit(30, &naive()),
        with_thread_limit(30, &real),
    ) else {
        return;
    };
    let connect_60 = |server: &Server| {
        let connect = |_| TcpStream::connect(server.address).ok();
        (0..60).filter_map(connect).collect::<Vec<_>>()
    };

    let naive = serve(&mut naive);
    let served = naive.connect();
    ask(&served, "hello", acknowledgement("hello").trim_end());
    let _clients = connect_60(&naive);
    naive.log_with("failed to spawn thread");
    show_log(&naive);
    println!("naive: its first client reads {:?}", read_to_end(served));

    let real = Server::spawn(&mut real);
    let served = real.connect();
    ask_line(&served, "hello");
    let clients = connect_60(&real);
    let refused = read_line(clients.last().unwrap());
    println!("real:  its last client reads {refused:?}");
    let why = "Server refused your connection: no thread for it: ";
    assert!(refused.starts_with(why), "{refused:?}");
    ask_line(&served, "still served");
}

#[test]
fn a_thread_reserves_two_mebibytes_of_address_space() {
    const CLIENTS: u64 = 50;
    if !may_start_threads(2 * CLIENTS) {
        return;
    }
    let each = |server: Server, message: &str| {
        let ask_all = |clients: &[TcpStream]| {
            let reply = acknowledgement(message.trim_end());
            clients
                .iter()
                .for_each(|client| ask(client, message, reply.trim_end()));
        };
        let first = [server.connect()];
        ask_all(&first);
        let before = ["VmSize", "VmRSS"].map(|what| server.status(what));
        let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
        ask_all(&clients);
        let after = ["VmSize", "VmRSS"].map(|what| server.status(what));
        [0, 1].map(|at| (after[at] - before[at]) / CLIENTS)
    };
    // Each of the allocator's heaps takes 64 MiB of it, too.
    let naive = serve(naive().env("MALLOC_ARENA_MAX", "1"));
    let mut real = server(&["-q", "--port", "0"]);
    let real = Server::spawn(real.env("MALLOC_ARENA_MAX", "1"));
    let [naive, real] = [each(naive, "hello\n"), each(real, "hello\n")];
    println!(
        "a client takes the naive server {} KB of address space and {} KB of memory",
        naive[0], naive[1]
    );
    println!("and the real one {} KB and {} KB", real[0], real[1]);
    assert!(naive[0] >= 2048 && real[0] < 256);
    // What was not touched is not there.
    assert!(naive[1] < 64 && real[1] < 64);
}
