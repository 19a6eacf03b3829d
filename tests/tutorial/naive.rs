use std::io::{Read, Write, stdin, stdout};
use std::net::{TcpListener, TcpStream};
use std::{env, thread};

fn server(address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    println!("Server listening on {}", listener.local_addr().unwrap());
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        thread::spawn(move || serve(stream));
    }
}

fn serve(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    loop {
        let length = stream.read(&mut buffer).unwrap();
        if length == 0 {
            break;
        }
        let message = str::from_utf8(&buffer[..length]).unwrap();
        println!("Received message: {message}");
        let reply = format!("Server received your message: {message}");
        stream.write_all(reply.as_bytes()).unwrap();
    }
}

fn client(address: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut buffer = [0; 1024];
    loop {
        print!("Enter message: ");
        stdout().flush().unwrap();
        let Some(message) = stdin().lines().next() else {
            break;
        };
        stream.write_all(message.unwrap().as_bytes()).unwrap();
        let length = stream.read(&mut buffer).unwrap();
        let reply = str::from_utf8(&buffer[..length]).unwrap();
        println!("Server: {reply}");
    }
}

fn main() {
    let args: Vec<String> = env::args().collect();
    match args[1].as_str() {
        "server" => server(&args[2]),
        _ => client(&args[2]),
    }
}
