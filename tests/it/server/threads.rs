//! The thread of each client: the address space that it takes, and a refusal without one.

use std::io::Write;
use std::net::TcpStream;

use crate::util::{
    Server, acknowledgement, ask_line, eventually, may_start_threads, quoted, read_line, read_rest,
    server, with_thread_limit,
};

#[test]
#[cfg_attr(windows, ignore = "needs /proc")]
fn a_client_takes_little_address_space() {
    const CLIENTS: u64 = 200;
    if !may_start_threads(CLIENTS) {
        return;
    }
    // Each heap of the allocator reserves 64 MiB of address space, so this allows one.
    let mut server = server(&["-q", "--port", "0"]);
    let server = Server::spawn(server.env("MALLOC_ARENA_MAX", "1"));
    ask_line(&server.connect(), "warm up");
    let before = server.status("VmSize");
    let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients.iter().for_each(|client| ask_line(client, "hello"));
    let each = (server.status("VmSize") - before) / CLIENTS;
    println!("{CLIENTS} clients took {each} KB of address space each (256 KB would be wrong)");
    assert!(each < 256, "a client took {each} KB of address space");
}

#[test]
fn without_a_free_thread_a_client_is_refused_with_the_reason() {
    const CLIENTS: usize = 60;
    let Some(mut server) = with_thread_limit(30, &server(&["-q", "--port", "0"])) else {
        return;
    };
    let server = Server::spawn(&mut server);
    let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    let mut served = Vec::new();
    let mut refused = 0;
    let mut last_refusal = String::new();
    for client in clients {
        // A refused client may be closed already.
        let _ = (&client).write_all(b"hello\n");
        match read_line(&client).as_str() {
            reply if reply == acknowledgement("hello") => served.push(client),
            notice => {
                let why = "Server refused your connection: no thread for it: ";
                assert!(notice.starts_with(why), "{notice:?}");
                assert_eq!(read_rest(client), "");
                refused += 1;
                last_refusal = notice.to_string();
            }
        }
    }
    println!(
        "of {CLIENTS} clients, the server served {} and refused {refused}: {}",
        served.len(),
        quoted(&last_refusal)
    );
    assert!(served.len() > 20 && refused > 20);
    for client in &served {
        ask_line(client, "still served");
    }
    // Their threads become free for other clients.
    drop(served);
    let reply = eventually(|| {
        let client = server.connect();
        let _ = (&client).write_all(b"hello\n");
        match read_line(&client) {
            reply if reply == acknowledgement("hello") => Ok(reply),
            notice => Err(notice),
        }
    });
    println!("after they closed, a new client got {}", quoted(reply));
}
