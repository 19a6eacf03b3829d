//! Limits of the machine.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::programs::{
    naive, naive_server, naive_server_in_python, read_to_end, real_server, repaired_server, serve,
    show_log,
};
use crate::subject::{Subject, comes_about, is_listening};
use crate::util::{
    Server, acknowledgement, ask, ask_line, await_refusal, eventually, may_start_threads,
    read_line, server, with_thread_limit,
};

/// Connects so many clients, until none of them could for a while.
pub fn connect(subject: &Subject, clients: usize) -> Vec<TcpStream> {
    let mut connected = Vec::new();
    let mut last = Instant::now();
    while connected.len() < clients && last.elapsed() < Duration::from_millis(1500) {
        let limit = Duration::from_millis(200);
        match TcpStream::connect_timeout(&subject.address, limit) {
            Ok(stream) => {
                connected.push(stream);
                last = Instant::now();
            }
            Err(_) if !is_listening(subject.address) => break,
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
    connected
}

/// Returns how many of these clients can connect while the server is paused.
pub fn connect_while_paused(subject: &Subject, clients: usize) -> usize {
    subject.pause();
    // Less than the second after which a SYN is repeated.
    let limit = Duration::from_millis(500);
    let connect = |_| TcpStream::connect_timeout(&subject.address, limit).ok();
    let connected: Vec<TcpStream> = (0..clients).map_while(connect).collect();
    subject.resume();
    connected.len()
}

/// A server that more clients connect to than it has descriptors for.
pub enum Exhausted {
    /// It has none left, or it has ended.
    Yes(Vec<TcpStream>),
    /// It has some left, because it accepts few clients at once.
    No,
    /// This machine cannot limit them.
    NoLimit,
}

/// Connects more clients than the server has descriptors for.
pub fn exhaust_descriptors(subject: &Subject) -> Exhausted {
    let limit = subject.open_files() + 30;
    if !subject.server().limit_open_files(limit as u32) {
        return Exhausted::NoLimit;
    }
    let clients = connect(subject, 60);
    let is_exhausted = || subject.open_files() >= limit || !is_listening(subject.address);
    if comes_about(is_exhausted) {
        Exhausted::Yes(clients)
    } else {
        Exhausted::No
    }
}

/// What clients that have gone have left behind in a server.
pub struct LeftBehind {
    pub files: usize,
    pub threads: usize,
}

/// Serves so many clients, lets them go, and returns what of theirs stays.
pub fn left_behind(subject: &Subject, clients: usize) -> LeftBehind {
    let serve = |count: usize| {
        for _ in 0..count {
            assert!(subject.is_served(&subject.connect()));
        }
    };
    // The first ones take what a runtime keeps for later.
    serve(2);
    subject.settle();
    let (files, threads) = (subject.open_files(), subject.threads());
    serve(clients);
    subject.settle();
    LeftBehind {
        files: subject.open_files().saturating_sub(files),
        threads: subject.threads().saturating_sub(threads),
    }
}

/// What a client takes of a server, in KB.
pub struct Cost {
    pub address_space: u64,
    pub memory: u64,
}

/// Connects so many clients, and returns what each takes.
pub fn cost_of_a_client(subject: &Subject, clients: usize) -> Cost {
    let first = subject.connect();
    assert!(subject.is_served(&first));
    let sum = |name| subject.sum_of(name);
    let (space, memory) = (sum("VmSize"), sum("VmRSS"));
    let mut connected = Vec::new();
    for _ in 0..clients {
        let client = subject.connect();
        assert!(subject.is_served(&client));
        connected.push(client);
    }
    Cost {
        address_space: sum("VmSize").saturating_sub(space) / clients as u64,
        memory: sum("VmRSS").saturating_sub(memory) / clients as u64,
    }
}

#[test]
fn a_queue_of_five_is_soon_full() {
    const CLIENTS: usize = 20;
    let Some(naive) = naive_server_in_python() else {
        return;
    };
    let naive = connect_while_paused(&naive.start().unwrap(), CLIENTS);
    let real = connect_while_paused(&real_server(&[]), CLIENTS);
    println!("{CLIENTS} clients connect while the server is paused");
    println!("naive, which listens with a backlog of 5: {naive} can connect");
    println!("real, with a backlog of 4,096: {real} can connect");
    assert!(naive < 10);
    assert_eq!(real, CLIENTS);
}

#[test]
fn the_queue_of_new_connections_overflows() {
    const CLIENTS: usize = 200;
    let naive = connect_while_paused(&naive_server(), CLIENTS);
    let real = connect_while_paused(&real_server(&[]), CLIENTS);
    println!("{CLIENTS} clients connect while the server is paused");
    println!("naive: {naive} of them can connect");
    println!("real:  {real} of them can connect");
    assert!(naive < CLIENTS);
    assert_eq!(real, CLIENTS);
}

#[test]
fn without_descriptors_the_loop_dies() {
    let naive = naive_server();
    let served = naive.connect();
    ask(&served, "hello", acknowledgement("hello").trim_end());
    let Exhausted::Yes(_clients) = exhaust_descriptors(&naive) else {
        return;
    };
    let log = naive.server().log_with("code: 24,");
    show_log(naive.server());
    assert!(log.contains("panicked"), "{log}");
    // With it, all its clients are lost.
    let end = read_to_end(served);
    println!("naive: its first client reads {end:?}");
    await_refusal(naive.address);
}

#[test]
fn without_descriptors_the_repaired_loop_spins() {
    let complaints = |server: &Server| server.log().matches("Cannot accept a connection: ").count();
    let repaired = repaired_server();
    let Exhausted::Yes(clients) = exhaust_descriptors(&repaired) else {
        return;
    };
    let begun = Instant::now();
    eventually(|| match complaints(repaired.server()) {
        100.. => Ok(()),
        complaints => Err(format!("{complaints} complaints")),
    });
    println!(
        "repaired: {} lines of log after {:.0?}",
        complaints(repaired.server()),
        begun.elapsed()
    );
    drop(clients);
    drop(repaired);

    let real = real_server(&[]);
    let served = real.connect();
    ask_line(&served, "hello");
    let begun = Instant::now();
    let Exhausted::Yes(clients) = exhaust_descriptors(&real) else {
        panic!("the real server has descriptors left");
    };
    let real = real.server();
    real.log_with("(os error 24)");
    thread::sleep(Duration::from_millis(300));
    println!(
        "real:     {} after {:.0?}",
        complaints(real),
        begun.elapsed()
    );
    // One a second.
    let expected = 1..=1 + begun.elapsed().as_secs() as usize;
    assert!(expected.contains(&complaints(real)), "{}", real.log());
    ask_line(&served, "still served");
    real.limit_open_files(400);
    for client in &clients {
        ask_line(client, "at last");
    }
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
    const CLIENTS: usize = 50;
    if !may_start_threads(2 * CLIENTS as u64) {
        return;
    }
    // Each of the allocator's heaps takes 64 MiB of it, too.
    let naive = serve(naive().env("MALLOC_ARENA_MAX", "1"));
    let mut real = server(&["-q", "--port", "0"]);
    let real = Server::spawn(real.env("MALLOC_ARENA_MAX", "1"));
    let naive = cost_of_a_client(&naive.into(), CLIENTS);
    let real = cost_of_a_client(&real.into(), CLIENTS);
    for (name, cost) in [("naive:", &naive), ("real: ", &real)] {
        let Cost {
            address_space,
            memory,
        } = cost;
        println!(
            "{name} a client takes {address_space} KB of address space, {memory} KB of memory"
        );
    }
    assert!(naive.address_space >= 2048 && real.address_space < 256);
    // Memory is only what was touched.
    assert!(naive.memory < 64 && real.memory < 64);
}
