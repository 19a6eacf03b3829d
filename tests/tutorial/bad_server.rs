use std::io::{BufRead, BufReader, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use std::{env, thread};

const MODES: [(&str, &str); 11] = [
    ("split", "sends each reply byte by byte, so an é is cut"),
    ("merge", "sends the replies to all lines of 0.1 s at once"),
    ("long", "puts 1,024 times x before the text, instead of the usual prefix"),
    ("cut", "ends in the middle of the first reply"),
    ("close", "ends after the first reply"),
    ("wrong", "replies with another text"),
    ("refuse", "refuses each client, and resets the connection"),
    ("reset", "resets the connection instead of a reply"),
    ("mute", "reads, and never replies"),
    ("late", "replies after 2 s"),
    ("unread", "never reads"),
];

fn main() {
    let args: Vec<String> = env::args().collect();
    let mode = MODES.iter().find(|(mode, _)| args.get(1).is_some_and(|arg| arg == mode));
    let (Some((mode, what)), Some(address)) = (mode, args.get(2)) else {
        eprintln!("Usage: bad_server MODE IP:PORT");
        for (mode, what) in MODES {
            eprintln!("  {mode:6}  {what}");
        }
        return;
    };
    let listener = TcpListener::bind(address).unwrap();
    println!("Server listening on {}", listener.local_addr().unwrap());
    println!("It {what}.");
    for stream in listener.incoming() {
        thread::spawn(move || serve(stream.unwrap(), mode));
    }
}

fn serve(mut stream: TcpStream, mode: &str) -> Result<()> {
    stream.set_nodelay(true)?;
    match mode {
        // A close with bytes unread resets the connection.
        "refuse" => {
            stream.write_all(b"Server refused your connection: 0 clients are allowed\n")?;
            stream.peek(&mut [0])?;
            return Ok(());
        }
        "reset" => {
            stream.peek(&mut [0])?;
            return Ok(());
        }
        "unread" => loop {
            thread::park();
        },
        _ => {}
    }
    // Your client may end no line. So a message also ends where a read ends.
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut replies = Vec::new();
    while !reader.fill_buf()?.is_empty() {
        let here = reader.buffer();
        let length = here.iter().position(|&byte| byte == b'\n');
        let length = length.map_or(here.len(), |lf| lf + 1);
        let message = here[..length].to_vec();
        reader.consume(length);
        println!("Received message: {:?}", String::from_utf8_lossy(&message));
        let mut reply = b"Server received your message: ".to_vec();
        reply.extend(message);
        match mode {
            "split" => {
                for byte in reply {
                    stream.write_all(&[byte])?;
                    thread::sleep(Duration::from_millis(1));
                }
            }
            "merge" => {
                replies.append(&mut reply);
                thread::sleep(Duration::from_millis(100));
                if reader.buffer().is_empty() {
                    stream.write_all(&replies)?;
                    replies.clear();
                }
            }
            "long" => {
                let prefix = "x".repeat(1024);
                let text = &reply["Server received your message: ".len()..];
                stream.write_all(&[prefix.as_bytes(), text].concat())?;
            }
            "cut" => return stream.write_all(&reply[..reply.len() / 2]),
            "close" => return stream.write_all(&reply),
            "wrong" => stream.write_all(b"Server received your message: something else\n")?,
            "late" => {
                thread::sleep(Duration::from_secs(2));
                stream.write_all(&reply)?;
            }
            _ => {}
        }
    }
    Ok(())
}
