use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use std::{env, thread};

fn main() {
    let listener = TcpListener::bind(env::args().nth(1).unwrap()).unwrap();
    println!("Server listening on {}", listener.local_addr().unwrap());
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => _ = thread::spawn(move || serve(stream)),
            Err(error) => eprintln!("Cannot accept a connection: {error}"),
        }
    }
}

fn serve(mut stream: TcpStream) {
    let silence = Some(Duration::from_secs(1));
    stream.set_read_timeout(silence).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while let Ok(1..) = lines.read_line(&mut line) {
        print!("Received message: {line}");
        let reply = format!("Server received your message: {line}");
        if stream.write_all(reply.as_bytes()).is_err() {
            break;
        }
        line.clear();
    }
}
