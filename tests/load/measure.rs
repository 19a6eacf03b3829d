//! A load for a server, its measurement, and the comparison with the baseline.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::util::{Server, acknowledgement, ask_line, connect};
use crate::{ROUNDS, baseline};

/// How long one measurement takes.
pub const SPAN: Duration = Duration::from_millis(200);

/// The result of one measurement.
pub struct Sample {
    /// Messages a second.
    rate: f64,
    /// The reply times, sorted.
    times: Vec<Duration>,
}

impl Sample {
    pub fn new(messages: usize, begun: Instant, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Sample {
            rate: messages as f64 / begun.elapsed().as_secs_f64(),
            times,
        }
    }

    /// Returns a quantile of the reply times, in milliseconds.
    fn quantile(&self, share: f64) -> f64 {
        let index = (self.times.len() - 1) as f64 * share;
        self.times[index as usize].as_secs_f64() * 1000.0
    }
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Measures the server and the baseline in turns, and prints a line of the table.
pub fn compare(name: &str, args: &[&str], measure: impl Fn(SocketAddr) -> Sample) {
    let servers = [Server::start(args), baseline::start(), baseline::start()];
    let mut samples: [Vec<Sample>; 3] = Default::default();
    for round in 0..ROUNDS {
        for turn in 0..3 {
            let which = (round + turn) % 3;
            samples[which].push(measure(servers[which].address));
        }
    }
    let [server, baseline, twin] = &samples;
    let pairs = || server.iter().zip(baseline).zip(twin);
    let ratio =
        median(pairs().map(|((server, one), two)| 2.0 * server.rate / (one.rate + two.rate)));
    let noise = median(pairs().map(|((_, one), two)| (one.rate / two.rate - 1.0).abs()));
    println!(
        "{name:<34} {:>10.0} {:>9.3} {:>9.3}  {ratio:.2} (noise {noise:.2})",
        median(server.iter().map(|sample| sample.rate)),
        median(server.iter().map(|sample| sample.quantile(0.5))),
        median(server.iter().map(|sample| sample.quantile(0.99))),
    );
}

/// Clients that each send a batch of messages and then wait for all its replies.
#[derive(Clone, Copy)]
pub struct Load {
    pub clients: usize,
    /// Messages in a batch.
    pub batch: usize,
    /// Bytes in a message, with its LF.
    pub size: usize,
}

impl Load {
    pub fn drive(self, address: SocketAddr) -> Sample {
        let text = "x".repeat(self.size - 1);
        let messages = format!("{text}\n").repeat(self.batch);
        let expected = acknowledgement(&text).repeat(self.batch);
        let threads = self.clients.min(2);
        // All clients connect before any thread starts: a failed connect would leave the
        // other threads waiting at the barrier.
        let streams: Vec<TcpStream> = (0..self.clients).map(|_| served(address)).collect();
        let ready = Barrier::new(threads + 1);
        thread::scope(|scope| {
            let drive = |streams: &[TcpStream]| {
                let mut replies = vec![0; expected.len()];
                let mut times = Vec::new();
                ready.wait();
                let begun = Instant::now();
                while begun.elapsed() < SPAN {
                    let mut sent = Vec::new();
                    for mut stream in streams {
                        stream.write_all(messages.as_bytes()).unwrap();
                        sent.push(Instant::now());
                    }
                    for (mut stream, sent) in streams.iter().zip(sent) {
                        stream.read_exact(&mut replies).unwrap();
                        times.push(sent.elapsed());
                        assert!(replies == expected.as_bytes(), "a wrong reply");
                    }
                }
                times
            };
            let drivers: Vec<_> = streams
                .chunks(self.clients.div_ceil(threads))
                .map(|streams| scope.spawn(move || drive(streams)))
                .collect();
            ready.wait();
            let begun = Instant::now();
            let times: Vec<Duration> = drivers
                .into_iter()
                .flat_map(|driver| driver.join().unwrap())
                .collect();
            Sample::new(times.len() * self.batch, begun, times)
        })
    }
}

/// Connects, and waits for one reply. Without the wait, many connects would overflow the
/// baseline's queue of new connections.
pub fn served(address: SocketAddr) -> TcpStream {
    let stream = connect(address);
    ask_line(&stream, "hello");
    stream
}
