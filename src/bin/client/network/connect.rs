//! One attempt to connect: looks the server's name up, and tries its addresses.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tcp_chat::cli::Limit;
use tcp_chat::printable::Printable;

/// How long each of several addresses is tried at first. Later passes over them take
/// twice as long each: an address whose packets are dropped costs little, and one that is
/// far away is reached in the end.
const FIRST_SHARE: Duration = Duration::from_millis(250);

/// The shortest time that a connect may take.
const SHORTEST_SHARE: Duration = Duration::from_millis(1);

/// A new connection.
pub(crate) struct Connected {
    pub(crate) stream: TcpStream,
    /// This side's own address.
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

/// Why an attempt has failed.
#[derive(Debug)]
pub(crate) struct Unreachable {
    /// In one line.
    pub(crate) why: String,
    /// Whether a machine has answered that nothing listens there.
    pub(crate) is_refused: bool,
}

/// Why one address cannot be connected to.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) address: SocketAddr,
    pub(crate) cause: Cause,
}

#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// It did not answer in the time that it was given.
    TimedOut,
    Refused(String),
    Other(String),
}

/// Connects to a server again and again.
pub(crate) struct Connector {
    host: String,
    port: u16,
    /// Whether a failed attempt is followed by others.
    retries: bool,
    last: Option<LastConnect>,
    /// A look-up of the name that has taken too long. Another one would wait no
    /// less, so this one is waited for again.
    overdue: Option<Receiver<io::Result<Vec<SocketAddr>>>>,
}

/// The last connect that succeeded.
struct LastConnect {
    address: SocketAddr,
    took: Duration,
}

impl Connector {
    pub(crate) fn new(host: &str, port: u16, retries: bool) -> Self {
        Connector {
            host: host.to_string(),
            port,
            retries,
            last: None,
            overdue: None,
        }
    }

    /// Makes one attempt, which began at `begun`. Calls `goes_on` if an address has failed
    /// and another one is tried.
    ///
    /// # Errors
    ///
    /// The look-up has failed, or no address can be connected to within the limit; the
    /// reason of each is named.
    pub(crate) fn connect(
        &mut self,
        begun: Instant,
        limit: Limit,
        goes_on: impl FnMut(&Failure, SocketAddr),
    ) -> Result<Connected, Unreachable> {
        let mut addresses = self.look_up(limit).map_err(|error| Unreachable {
            why: error.to_string(),
            is_refused: false,
        })?;
        if let Some(last) = &self.last
            && let Some(place) = addresses
                .iter()
                .position(|address| *address == last.address)
        {
            addresses.swap(0, place);
        }
        let took = self.last.as_ref().map(|last| last.took);
        let attempt = Attempt {
            first_share: took.map_or(FIRST_SHARE, |took| FIRST_SHARE.max(2 * took)),
            retries: self.retries,
            begun,
            limit,
        };
        let connected = attempt.try_all(&addresses, Instant::now, connect_to, goes_on);
        let (connected, took) = connected.map_err(|failures| unreachable(&failures))?;
        let address = connected.remote;
        self.last = Some(LastConnect { address, took });
        Ok(connected)
    }

    /// Resolves the server's name. A look-up has no time limit and cannot be
    /// interrupted, so it is left to a thread.
    fn look_up(&mut self, limit: Limit) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let answer = match self.overdue.take() {
            Some(answer) => answer,
            None => self.start_look_up()?,
        };
        let answered = match limit {
            Some(limit) => answer.recv_timeout(limit),
            None => answer.recv().map_err(RecvTimeoutError::from),
        };
        match answered {
            Ok(addresses) => addresses,
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the look-up failed")),
            Err(RecvTimeoutError::Timeout) => {
                self.overdue = Some(answer);
                let host = Printable(self.host.as_bytes());
                let seconds = limit.unwrap_or_default().as_secs_f64();
                let why = format!("the look-up of {host} timed out after {seconds:.3} s");
                Err(io::Error::other(why))
            }
        }
    }

    fn start_look_up(&self) -> io::Result<Receiver<io::Result<Vec<SocketAddr>>>> {
        let (found, answer) = mpsc::channel();
        let name = (self.host.clone(), self.port);
        let look_up = move || {
            let addresses = name.to_socket_addrs().map(without_doubles);
            // Nobody waits for it any more once the run is over.
            let _ = found.send(addresses);
        };
        thread::Builder::new()
            .name("look-up".to_string())
            .spawn(look_up)?;
        Ok(answer)
    }
}

fn without_doubles(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut single = Vec::new();
    for address in addresses {
        if !single.contains(&address) {
            single.push(address);
        }
    }
    single
}

/// The rule of an attempt, without any socket or clock.
struct Attempt {
    /// How long each of several addresses is tried in the first pass.
    first_share: Duration,
    /// Whether a failed attempt is followed by others.
    retries: bool,
    begun: Instant,
    limit: Limit,
}

impl Attempt {
    /// Tries these addresses in passes, in this order. Returns the connection, and how
    /// long its connect took.
    ///
    /// A pass in which no address timed out ends the attempt: none will answer otherwise
    /// if it is given more time. If other attempts follow, so does a pass in which an
    /// address has refused: it will be asked again before long.
    ///
    /// # Errors
    ///
    /// How each address has failed last.
    fn try_all<T>(
        &self,
        addresses: &[SocketAddr],
        clock: impl Fn() -> Instant,
        mut connect: impl FnMut(SocketAddr, Limit) -> Result<T, Cause>,
        mut goes_on: impl FnMut(&Failure, SocketAddr),
    ) -> Result<(T, Duration), Vec<Failure>> {
        let mut failures: Vec<Failure> = Vec::new();
        let mut share = self.first_share;
        loop {
            let mut pass = Vec::new();
            for (number, address) in addresses.iter().enumerate() {
                let untried = (addresses.len() - number) as u32;
                let began = clock();
                let left = self
                    .limit
                    .map(|limit| limit.saturating_sub(began - self.begun));
                if left == Some(Duration::ZERO) && !failures.is_empty() {
                    break;
                }
                // One that is dead must not take all the time of those after it.
                let left = left.map(|left| left / untried);
                let share = match left {
                    _ if addresses.len() == 1 => left,
                    Some(left) => Some(share.min(left)),
                    None => Some(share),
                };
                let share = share.map(|share| share.max(SHORTEST_SHARE));
                match connect(*address, share) {
                    Ok(connected) => return Ok((connected, clock() - began)),
                    Err(cause) => pass.push(Failure {
                        address: *address,
                        cause,
                    }),
                }
                if let (Some(failed), Some(next)) = (pass.last(), addresses.get(number + 1)) {
                    goes_on(failed, *next);
                }
            }
            let timed_out = pass
                .iter()
                .any(|failed| matches!(failed.cause, Cause::TimedOut));
            let refused = pass
                .iter()
                .any(|failed| matches!(failed.cause, Cause::Refused(_)));
            let is_whole = pass.len() == addresses.len();
            for failed in pass {
                failures.retain(|earlier| earlier.address != failed.address);
                failures.push(failed);
            }
            if addresses.len() == 1 || !is_whole || !timed_out || refused && self.retries {
                return Err(failures);
            }
            share *= 2;
        }
    }
}

/// What there is to say when all addresses have failed.
fn unreachable(failures: &[Failure]) -> Unreachable {
    let is_refused = failures
        .iter()
        .any(|failed| matches!(failed.cause, Cause::Refused(_)));
    let why = match failures {
        [] => "the name has no address".to_string(),
        [only] => match &only.cause {
            Cause::TimedOut => "Connection timed out".to_string(),
            Cause::Refused(why) | Cause::Other(why) => why.clone(),
        },
        several => {
            let each = several
                .iter()
                .map(|failed| format!("{}: {}", failed.address.ip(), failed));
            each.collect::<Vec<_>>().join("; ")
        }
    };
    Unreachable { why, is_refused }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.cause {
            Cause::TimedOut => f.write_str("timed out"),
            Cause::Refused(why) | Cause::Other(why) => f.write_str(why),
        }
    }
}

/// Whether this machine has an address from which this one can be reached.
fn has_route(address: SocketAddr) -> bool {
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    // This sends nothing.
    UdpSocket::bind(any).is_ok_and(|socket| socket.connect(address).is_ok())
}

/// Connects to one address.
fn connect_to(address: SocketAddr, limit: Limit) -> Result<Connected, Cause> {
    let connected = match limit {
        Some(limit) => TcpStream::connect_timeout(&address, limit),
        None => TcpStream::connect(address),
    };
    let stream = connected.map_err(|error| cause_of(&error, address))?;
    let local = stream
        .local_addr()
        .map_err(|error| Cause::Other(error.to_string()))?;
    // If nothing listens on a port that the system also gives to outgoing connections, a
    // connection can meet itself.
    if local == address {
        let why = "nothing listens there, and the connection met itself";
        return Err(Cause::Refused(why.to_string()));
    }
    // Otherwise a message could wait until TCP has acknowledged the one before. Some
    // systems refuse if the server has reset the connection already; the first read says so.
    let _ = stream.set_nodelay(true);
    Ok(Connected {
        stream,
        local,
        remote: address,
    })
}

fn cause_of(error: &io::Error, address: SocketAddr) -> Cause {
    match error.kind() {
        // The limit's own error has no number. The system's means that it has given up.
        io::ErrorKind::TimedOut if error.raw_os_error().is_none() => Cause::TimedOut,
        io::ErrorKind::TimedOut => Cause::Other("Connection timed out".to_string()),
        io::ErrorKind::ConnectionRefused => Cause::Refused(error.to_string()),
        io::ErrorKind::AddrNotAvailable if has_route(address) => Cause::Other(format!(
            "no free local port; closed connections hold theirs for a minute (TIME-WAIT): {error}"
        )),
        _ => Cause::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What an address does after so long.
    #[derive(Clone, Copy)]
    enum Does {
        Answers(u32),
        Refuses,
        Nothing,
    }
    use Does::{Answers, Nothing, Refuses};

    /// Makes an attempt in virtual time at addresses that do this. Returns how long it
    /// took, and the number of the address that has answered.
    fn attempt(
        does: &[Does],
        first_share: Duration,
        retries: bool,
        limit: Limit,
    ) -> (u32, Option<usize>) {
        let begun = Instant::now();
        let now = Cell::new(begun);
        let addresses: Vec<SocketAddr> = (0..does.len())
            .map(|number| SocketAddr::from(([192, 0, 2, 1], number as u16)))
            .collect();
        let connect = |address: SocketAddr, share: Limit| {
            let number = usize::from(address.port());
            let wait = |time: Duration| now.set(now.get() + time);
            match does[number] {
                Answers(after) if share.is_none_or(|share| after * MS <= share) => {
                    wait(after * MS);
                    Ok(number)
                }
                Refuses => Err(Cause::Refused("refused".to_string())),
                Answers(_) | Nothing => {
                    wait(share.unwrap());
                    Err(Cause::TimedOut)
                }
            }
        };
        let attempt = Attempt {
            first_share,
            retries,
            begun,
            limit,
        };
        let end = attempt.try_all(&addresses, || now.get(), connect, |_, _| ());
        let took = (now.get() - begun).as_millis() as u32;
        (took, end.ok().map(|(number, _)| number))
    }

    #[test]
    fn a_dead_address_costs_a_quarter_of_a_second_and_a_far_one_is_reached() {
        let limit = Some(10_000 * MS);
        for (does, took, answered) in [
            (&[Nothing, Answers(1)][..], 251, Some(1)),
            (&[Nothing, Nothing, Answers(1)], 501, Some(2)),
            // 250 ms each, and then up to 500 ms.
            (&[Answers(300), Answers(300)], 800, Some(0)),
            (
                &[Nothing, Answers(900)],
                250 + 250 + 500 + 500 + 1000 + 900,
                Some(1),
            ),
            (&[Nothing, Nothing], 10_000, None),
            (&[Nothing], 10_000, None),
            (&[Answers(9_999)], 9_999, Some(0)),
            (&[Refuses, Refuses], 0, None),
            (&[Refuses, Answers(1)], 1, Some(1)),
        ] {
            for retries in [false, true] {
                assert_eq!(attempt(does, FIRST_SHARE, retries, limit), (took, answered));
            }
        }
    }

    #[test]
    fn a_refusal_ends_the_attempt_with_its_pass_if_others_follow() {
        for does in [&[Refuses, Nothing], &[Nothing, Refuses]] {
            assert_eq!(
                attempt(does, FIRST_SHARE, true, Some(5_000 * MS)),
                (250, None)
            );
            assert_eq!(
                attempt(does, FIRST_SHARE, false, Some(5_000 * MS)),
                (5_000, None)
            );
        }
    }

    #[test]
    fn no_attempt_takes_longer_than_its_limit_and_each_address_has_its_share() {
        for millis in [2, 100, 300, 499, 500, 501, 1700] {
            let limit = Some(millis * MS);
            for does in [
                &[Nothing, Nothing][..],
                &[Nothing, Refuses],
                &[Nothing, Nothing, Nothing],
            ] {
                let (took, answered) = attempt(does, FIRST_SHARE, false, limit);
                assert!(took.abs_diff(millis) <= 3, "{took} of {millis} ms");
                assert_eq!(answered, None);
            }
            let (took, answered) = attempt(&[Nothing, Answers(1)], FIRST_SHARE, true, limit);
            assert!(
                took <= millis && answered == Some(1),
                "{took} of {millis} ms"
            );
        }
    }
}
