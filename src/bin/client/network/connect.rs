//! One attempt to connect: looks up the server's name, and tries its addresses.
//!
//! A single address gets all the time of the attempt. Several addresses are tried one after
//! the other, in passes. In the first pass, each is tried for 250 ms, or for twice as long as
//! the last successful connect took, if that is longer. Each further pass doubles that time.
//! No address gets more than an equal share of the time that is left for the pass. So an
//! address whose packets are dropped costs little, and one that is far away is
//! reached in the end. Here A drops packets, and B is 900 ms away:
//!
//! ```text
//!      pass 1          pass 2              pass 3
//!  | A 250 | B 250 | A 500 | B 500 | A 1000 ms | B 900 ms: connected
//! ```
//!
//! Another pass follows only if an address has timed out, and while time is left. If failed
//! attempts are repeated, no pass follows one in which an address has refused: the next
//! attempt asks that address again sooner.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tcp_chat::cli::Limit;
use tcp_chat::printable::Printable;

use crate::rules::conversation::Unreachable;

/// The least time for which each of several addresses is tried in the first pass.
const FIRST_SHARE: Duration = Duration::from_millis(250);

/// The shortest limit of a connect. `TcpStream::connect_timeout` refuses a limit of zero.
const SHORTEST_SHARE: Duration = Duration::from_millis(1);

/// A new connection.
pub(crate) struct Connected {
    pub(crate) stream: TcpStream,
    /// The client's own address.
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

/// Why an attempt has failed.
#[derive(Debug)]
pub(crate) enum NotConnected {
    Unreachable(Unreachable),
    /// The thread that looks up the server's name has panicked. Its channel is closed.
    LookUpPanicked,
}

/// The name of the thread that looks up the server's name.
pub(crate) const LOOK_UP: &str = "look-up";

/// Whether a failed attempt is followed by others.
#[derive(Clone, Copy)]
pub(crate) enum Attempts {
    Single,
    Repeated,
}

/// Why one address cannot be connected to.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) address: SocketAddr,
    pub(crate) cause: Cause,
}

/// Why a connect has failed. A text is the system's error.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// The address did not answer within the limit.
    TimedOut,
    /// Nothing listens there.
    Refused(String),
    Other(String),
}

/// Makes one attempt after another to connect to a server.
pub(crate) struct Connector {
    host: String,
    port: u16,
    attempts: Attempts,
    /// Resolves the server's name.
    resolve: Resolve,
    last: Option<LastConnect>,
    /// The result of a look-up that has taken too long. A new look-up would take no less, so
    /// the next attempt waits for this one again.
    overdue: Option<Receiver<io::Result<Vec<SocketAddr>>>>,
}

/// Returns the addresses of a host, with the port.
pub(crate) type Resolve = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// The last connect that succeeded.
struct LastConnect {
    address: SocketAddr,
    took: Duration,
}

impl Connector {
    pub(crate) fn new(host: &str, port: u16, attempts: Attempts) -> Self {
        Connector {
            host: host.to_string(),
            port,
            attempts,
            resolve,
            last: None,
            overdue: None,
        }
    }

    /// Makes one attempt, which began at `begun`. Calls `on_failure` with the failure of an
    /// address and with the address that is tried next.
    ///
    /// # Errors
    ///
    /// The look-up has failed or panicked, or no address could be connected to within the
    /// limit. In the last case, the error names the reason for each address.
    pub(crate) fn connect(
        &mut self,
        begun: Instant,
        limit: Limit,
        on_failure: impl FnMut(&Failure, SocketAddr),
    ) -> Result<Connected, NotConnected> {
        let mut addresses = self.look_up(limit)?;
        let mut first_share = FIRST_SHARE;
        if let Some(last) = &self.last {
            move_to_front(&mut addresses, last.address);
            first_share = first_share.max(2 * last.took);
        }
        let attempt = Attempt {
            first_share,
            attempts: self.attempts,
            begun,
            limit,
        };
        match attempt.try_all(&addresses, Instant::now, connect_to, on_failure) {
            Ok(Reached { value, took }) => {
                let address = value.remote;
                self.last = Some(LastConnect { address, took });
                Ok(value)
            }
            Err(failures) => Err(NotConnected::Unreachable(describe_failures(&failures))),
        }
    }

    /// Resolves the server's name with this function from now on.
    #[cfg(test)]
    pub(crate) fn set_resolve(&mut self, resolve: Resolve) {
        self.resolve = resolve;
    }

    /// Resolves the server's name. A look-up has no time limit and cannot be interrupted, so a
    /// separate thread makes it.
    ///
    /// # Errors
    ///
    /// The name cannot be resolved, or not within the limit; or no thread is available; or
    /// the thread has panicked.
    fn look_up(&mut self, limit: Limit) -> Result<Vec<SocketAddr>, NotConnected> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let result = match self.overdue.take() {
            Some(result) => result,
            None => self.start_look_up().map_err(no_look_up)?,
        };
        let received = match limit {
            Some(limit) => result.recv_timeout(limit),
            None => result.recv().map_err(RecvTimeoutError::from),
        };
        match received {
            Ok(addresses) => addresses.map_err(no_look_up),
            Err(RecvTimeoutError::Disconnected) => Err(NotConnected::LookUpPanicked),
            Err(RecvTimeoutError::Timeout) => {
                self.overdue = Some(result);
                let host = Printable(self.host.as_bytes());
                let seconds = limit.unwrap_or_default().as_secs_f64();
                let why = format!("the look-up of {host} timed out after {seconds:.3} s");
                Err(no_look_up(why))
            }
        }
    }

    /// Starts a look-up, whose result comes through the channel.
    fn start_look_up(&self) -> io::Result<Receiver<io::Result<Vec<SocketAddr>>>> {
        let (sender, result) = mpsc::channel();
        let host = self.host.clone();
        let port = self.port;
        let resolve = self.resolve;
        let look_up = move || {
            // Once the run is over, nobody waits for the result any more.
            let _ = sender.send(resolve(&host, port));
        };
        thread::Builder::new()
            .name(LOOK_UP.to_string())
            .spawn(look_up)?;
        Ok(result)
    }
}

fn no_look_up(why: impl ToString) -> NotConnected {
    NotConnected::Unreachable(Unreachable {
        why: why.to_string(),
        is_refused: false,
    })
}

fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses = (host, port).to_socket_addrs()?;
    Ok(without_doubles(addresses))
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

/// Moves this address, if it is there, to the front. The others keep the resolver's order,
/// which has the preferred addresses first.
fn move_to_front(addresses: &mut [SocketAddr], address: SocketAddr) {
    if let Some(index) = addresses.iter().position(|other| *other == address) {
        addresses[..=index].rotate_right(1);
    }
}

/// The rules of an attempt, without any socket or clock.
struct Attempt {
    /// How long each of several addresses is tried in the first pass.
    first_share: Duration,
    attempts: Attempts,
    begun: Instant,
    /// How long the attempt may take.
    limit: Limit,
}

/// An address was reached.
struct Reached<T> {
    /// What connecting has returned.
    value: T,
    /// How long the connect to this address took.
    took: Duration,
}

impl Attempt {
    /// Tries these addresses in this order, and again in further passes. Calls
    /// `on_failure` with a failure and the address that is tried next, except for the last
    /// address of a pass.
    ///
    /// # Errors
    ///
    /// How each address has failed last, if all of them have.
    fn try_all<T>(
        &self,
        addresses: &[SocketAddr],
        clock: impl Fn() -> Instant,
        mut connect: impl FnMut(SocketAddr, Limit) -> Result<T, Cause>,
        mut on_failure: impl FnMut(&Failure, SocketAddr),
    ) -> Result<Reached<T>, Vec<Failure>> {
        let mut failures = Vec::new();
        let mut share = self.first_share;
        loop {
            let is_first_pass = failures.is_empty();
            let mut has_timeout = false;
            let mut has_refusal = false;
            for (number, address) in addresses.iter().enumerate() {
                let began = clock();
                let left = self.left(began);
                // The first pass tries every address, if only for the shortest share.
                if left == Some(Duration::ZERO) && !is_first_pass {
                    return Err(failures);
                }
                let limit = if addresses.len() == 1 {
                    left
                } else {
                    let untried = addresses.len() - number;
                    Some(share_of_next(untried, share, left))
                };
                let limit = limit.map(|limit| limit.max(SHORTEST_SHARE));
                let cause = match connect(*address, limit) {
                    Ok(value) => {
                        let took = clock() - began;
                        return Ok(Reached { value, took });
                    }
                    Err(cause) => cause,
                };
                match cause {
                    Cause::TimedOut => has_timeout = true,
                    Cause::Refused(_) => has_refusal = true,
                    Cause::Other(_) => {}
                }
                let failure = Failure {
                    address: *address,
                    cause,
                };
                if let Some(next) = addresses.get(number + 1) {
                    on_failure(&failure, *next);
                }
                record_failure(&mut failures, failure);
            }
            if addresses.len() == 1 {
                return Err(failures);
            }
            // More time helps only an address that has timed out.
            if !has_timeout {
                return Err(failures);
            }
            // The address that has refused is asked again sooner by the next attempt.
            if has_refusal && matches!(self.attempts, Attempts::Repeated) {
                return Err(failures);
            }
            share *= 2;
        }
    }

    /// Returns how much of the limit is left.
    fn left(&self, now: Instant) -> Limit {
        let limit = self.limit?;
        Some(limit.saturating_sub(now - self.begun))
    }
}

/// Returns how long the next of several untried addresses may take. It must not take all the
/// time that is left, because then those after it would not be tried.
fn share_of_next(untried: usize, share: Duration, left: Limit) -> Duration {
    match left {
        Some(left) => share.min(left / untried as u32),
        None => share,
    }
}

/// Records how an address has failed last, and forgets its earlier failure.
fn record_failure(failures: &mut Vec<Failure>, failure: Failure) {
    failures.retain(|earlier| earlier.address != failure.address);
    failures.push(failure);
}

/// Describes why all addresses have failed.
fn describe_failures(failures: &[Failure]) -> Unreachable {
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
            let each: Vec<String> = several
                .iter()
                .map(|failed| format!("{}: {failed}", failed.address.ip()))
                .collect();
            each.join("; ")
        }
    };
    Unreachable { why, is_refused }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::TimedOut => f.write_str("timed out"),
            Cause::Refused(why) | Cause::Other(why) => f.write_str(why),
        }
    }
}

/// Whether this machine has a route to the address.
fn has_route(address: SocketAddr) -> bool {
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    // To connect a UDP socket sends nothing.
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
    // If nothing listens on a port of this machine, the system may give the same port to this
    // connection. TCP then connects the socket to itself.
    if local == address {
        let why = "nothing listens there, and the connection met itself";
        return Err(Cause::Refused(why.to_string()));
    }
    // Without TCP_NODELAY, a message could wait until TCP has acknowledged the one before. If
    // the server has reset the connection already, some systems fail here. That is no loss:
    // the first read fails, too.
    let _ = stream.set_nodelay(true);
    Ok(Connected {
        stream,
        local,
        remote: address,
    })
}

fn cause_of(error: &io::Error, address: SocketAddr) -> Cause {
    match error.kind() {
        // An error without a number comes from the limit. One with a number comes from the
        // system, which has given up.
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

    /// What an address does; a number is after how many milliseconds.
    #[derive(Clone, Copy)]
    enum Does {
        Answers(u32),
        Refuses,
        Nothing,
    }
    use Does::{Answers, Nothing, Refuses};

    /// Makes an attempt in virtual time at addresses that do this. Returns how many
    /// milliseconds it took, and the number of the address that has accepted.
    fn attempt(
        does: &[Does],
        first_share: Duration,
        attempts: Attempts,
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
            attempts,
            begun,
            limit,
        };
        let end = attempt.try_all(&addresses, || now.get(), connect, |_, _| ());
        let took = (now.get() - begun).as_millis() as u32;
        (took, end.ok().map(|reached| reached.value))
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
            for attempts in [Attempts::Single, Attempts::Repeated] {
                assert_eq!(
                    attempt(does, FIRST_SHARE, attempts, limit),
                    (took, answered)
                );
            }
        }
    }

    #[test]
    fn the_address_that_worked_last_comes_first_and_the_others_keep_their_order() {
        let address = |number: u8| SocketAddr::from(([192, 0, 2, number], 80));
        let mut addresses = [1, 2, 3, 4].map(address);
        move_to_front(&mut addresses, address(3));
        assert_eq!(addresses, [3, 1, 2, 4].map(address));
        move_to_front(&mut addresses, address(9));
        assert_eq!(addresses, [3, 1, 2, 4].map(address));
    }

    #[test]
    fn a_refusal_ends_the_attempt_with_its_pass_if_others_follow() {
        for does in [&[Refuses, Nothing], &[Nothing, Refuses]] {
            assert_eq!(
                attempt(does, FIRST_SHARE, Attempts::Repeated, Some(5_000 * MS)),
                (250, None)
            );
            assert_eq!(
                attempt(does, FIRST_SHARE, Attempts::Single, Some(5_000 * MS)),
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
                let (took, answered) = attempt(does, FIRST_SHARE, Attempts::Single, limit);
                assert!(took.abs_diff(millis) <= 3, "{took} of {millis} ms");
                assert_eq!(answered, None);
            }
            let (took, answered) = attempt(
                &[Nothing, Answers(1)],
                FIRST_SHARE,
                Attempts::Repeated,
                limit,
            );
            assert!(
                took <= millis && answered == Some(1),
                "{took} of {millis} ms"
            );
        }
    }
}
