//! Hours of outages in virtual time, which take no real time.

use super::network::{Absence, Away, Network};
use super::*;
use crate::random::Random;

/// Returns the most attempts that the rule for pauses allows in this time, by the
/// differential equation that the rule is: ten milliseconds each until a
/// sixteenth is more, then a seventeenth more time each, then a second each.
fn most_attempts(time: Duration) -> f64 {
    let time = time.as_secs_f64();
    let growth = (17.0_f64 / 16.0).ln();
    let at_first = time.min(0.16) / 0.01;
    let then = (time.clamp(0.16, 16.0) / 0.16).ln() / growth;
    // One is at the beginning, and one for each change of the rule.
    at_first + then + (time - 16.0).max(0.0) + 3.0
}

/// What was simulated.
#[derive(Default)]
struct Simulated {
    time: Duration,
    outages: usize,
    attempts: usize,
}

impl Simulated {
    fn add(&mut self, network: &Network, began: Instant) {
        self.time += network.now - began;
        self.attempts += network.attempts.len();
    }
}

impl std::fmt::Display for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.time.as_secs_f64() / 3600.0;
        let Simulated {
            outages, attempts, ..
        } = self;
        write!(
            f,
            "{hours:.0} hours, {outages} outages, {attempts} attempts"
        )
    }
}

#[test]
fn each_outage_is_reported_as_long_as_it_was() {
    let mut simulated = Simulated::default();
    let mut random = Random::default();
    for run in 0..60 {
        let interval = match run % 4 {
            // There is no line at all, so only connections show an outage.
            0 => 1_000_000 * SECOND,
            _ => random.time(SECOND / 5, 5 * SECOND),
        };
        let mut network = Network::new(settings(), interval, 1_000_000 * SECOND);
        let began = network.now;
        let mut to = began;
        for _ in 0..40 {
            let away = random.one_of([Away::Refuses, Away::Proxy, Away::Vanishes, Away::Silent]);
            let shortest = match away {
                // A client without lines cannot notice it.
                Away::Silent if run % 4 == 0 => continue,
                // Until a reply is missed and waited for.
                Away::Silent => 20 * SECOND,
                _ => SECOND / 100,
            };
            let from = to + random.time(6 * SECOND, 60 * SECOND);
            to = from + random.time(shortest, 600 * SECOND);
            network.absences.push(Absence { from, to, away });
        }
        network.last_line = to + 10 * SECOND;
        assert_eq!(network.run(), Ok(()), "run {run}");
        assert_outages(&network);
        simulated.add(&network, began);
        simulated.outages += network.absences.len();
    }
    println!("{simulated}");
    assert!(simulated.time > 20 * 3600 * SECOND);
}

/// Asserts that the conversation had the outages that there were.
fn assert_outages(network: &Network) {
    let counts = &network.conversation.counts;
    assert_eq!(counts.outages as usize, network.absences.len());
    let outages = &network.conversation.first_outages;
    let sent_again = outages.iter().map(|outage| outage.sent_again);
    assert_eq!(sent_again.sum::<u64>(), counts.sent_again);
    let mut news = network.news.iter();
    for (outage, absence) in network
        .conversation
        .first_outages
        .iter()
        .zip(&network.absences)
    {
        let shown = format!(
            "{outage:?} for {absence:?}, {:?}",
            absence.to - absence.from
        );
        let missed = network.missed.iter().find(|at| **at >= absence.from);
        // Only a client that awaits a reply notices silence.
        let from = match absence.away {
            Away::Silent => *missed.unwrap(),
            _ => absence.from,
        };
        let away = absence.to - from;
        let slack = Duration::from_millis(30)
            + match absence.away {
                // From the last SYN of an attempt to the first of the next.
                Away::Vanishes | Away::Silent => 3 * SECOND,
                _ => away.mul_f64(0.07),
            };
        let (first, last) = (outage.began, outage.began + outage.length);
        assert!(
            first <= from && first + Duration::from_millis(30) > from,
            "{shown}"
        );
        assert!(last >= absence.to && last <= absence.to + slack, "{shown}");

        let known = network.losses.iter().find(|at| **at >= from).unwrap();
        let attempts = network
            .attempts
            .iter()
            .filter(|at| (*known..=last).contains(at));
        let most = most_attempts(last - *known);
        assert!(
            attempts.count() as f64 <= most,
            "more than {most} attempts: {shown}"
        );

        let again = match outage.sent_again {
            1 => "1 line".to_string(),
            lines => format!("{lines} lines"),
        };
        let back = format!(
            "connected to server again after {:.3} s; {again} sent again",
            outage.length.as_secs_f64()
        );
        assert_eq!(
            news.next(),
            Some(&News::warn(format!(
                "{}; trying again for up to 3600 s",
                outage.cause
            )))
        );
        assert_eq!(news.next(), Some(&News::warn(back)));
    }
    assert_eq!(news.next(), None);
}

#[test]
fn outages_are_reported_as_long_as_they_were_with_reconnects() {
    let mut simulated = Simulated::default();
    let mut random = Random::default();
    for run in 0..60 {
        let interval = random.time(SECOND / 5, 5 * SECOND);
        let every = random.one_of([1, 2, 7]);
        let settings = Settings {
            reconnect_every: Some(every),
            ..settings()
        };
        let mut network = Network::new(settings, interval, 1_000_000 * SECOND);
        let began = network.now;
        let mut to = began;
        for _ in 0..20 {
            let away = random.one_of([Away::Refuses, Away::Proxy, Away::Vanishes]);
            let shortest = match away {
                // An attempt that is not answered at first may be in the end.
                Away::Vanishes => 6 * SECOND,
                _ => SECOND / 100,
            };
            let from = to + random.time(6 * SECOND, 60 * SECOND);
            // An outage in which there was nothing to send stays unnoticed.
            to = from + interval + random.time(shortest, 100 * SECOND);
            network.absences.push(Absence { from, to, away });
        }
        network.last_line = to + 10 * SECOND;
        assert_eq!(network.run(), Ok(()), "run {run}");

        let counts = &network.conversation.counts;
        assert_eq!(counts.outages as usize, network.absences.len());
        assert_eq!(counts.connections, network.connections);
        assert!(counts.connections >= counts.replies.total().div_ceil(every));
        let most = counts.replies.total().div_ceil(every) + network.losses.len() as u64;
        assert!(counts.connections <= most + 1, "run {run}");
        for (outage, absence) in network
            .conversation
            .first_outages
            .iter()
            .zip(&network.absences)
        {
            let shown = format!("run {run}, {every}, {interval:?}: {outage:?}, {absence:?}");
            let away = absence.to - absence.from;
            let slack = Duration::from_millis(30)
                + match absence.away {
                    Away::Vanishes => 3 * SECOND,
                    _ => away.mul_f64(0.07),
                };
            let (first, last) = (outage.began, outage.began + outage.length);
            assert!(
                first >= absence.from && first <= absence.from + interval,
                "{shown}"
            );
            assert!(last >= absence.to && last <= absence.to + slack, "{shown}");
        }
        simulated.add(&network, began);
        simulated.outages += network.absences.len();
    }
    println!("{simulated}");
    assert!(simulated.time > 10 * 3600 * SECOND);
}

#[test]
fn it_gives_up_exactly_at_retry_for() {
    let mut simulated = Simulated::default();
    let mut random = Random::default();
    for run in 0..400 {
        let retry_for = random.time(SECOND / 50, 1800 * SECOND);
        let away = random.one_of([Away::Refuses, Away::Proxy, Away::Vanishes, Away::Mute]);
        let settings = Settings {
            retry_for,
            ..settings()
        };
        let tick = SECOND.min(retry_for.min(settings.timeout.unwrap()) / 8);
        let mut network = Network::new(settings, SECOND, 7200 * SECOND);
        let began = network.now;
        // It may never have been there.
        let from = began + random.one_of([0, 10]) * SECOND;
        let to = network.last_line;
        network.absences.push(Absence { from, to, away });
        let why = network.run().unwrap_err();
        let seconds = retry_for.as_secs_f64();
        assert!(
            why.starts_with(&format!(
                "gave up on server after {seconds} s (--retry-for); "
            )),
            "{why}"
        );
        let late = match away {
            Away::Refuses | Away::Proxy => Duration::from_millis(1),
            // An attempt is not worth it without some time.
            Away::Vanishes => Duration::from_millis(10),
            _ => tick + Duration::from_millis(1),
        };
        // It is known from the first loss, or from the first attempt on if no
        // connection ever came about.
        let known = *network.losses.first().unwrap_or(&network.attempts[0]);
        let tried = network.now - known;
        let shown = format!("run {run}: {tried:?} of {retry_for:?}, {away:?}");
        assert!(tried >= retry_for && tried <= retry_for + late, "{shown}");
        assert!(
            network.attempts.len() as f64 <= most_attempts(tried) + 1.0,
            "{shown}"
        );
        simulated.add(&network, began);
        simulated.outages += 1;
    }
    println!("{simulated}");
}

#[test]
fn a_server_that_is_back_shortly_before_retry_for_is_found() {
    let mut random = Random::default();
    for run in 0..200 {
        let retry_for = random.time(SECOND / 5, 1800 * SECOND);
        let settings = Settings {
            retry_for,
            ..settings()
        };
        let mut network = Network::new(settings, SECOND, 60 * SECOND + retry_for);
        let from = network.now + 10 * SECOND;
        let to = from + retry_for.mul_f64(0.99);
        let away = random.one_of([Away::Refuses, Away::Proxy]);
        network.absences.push(Absence { from, to, away });
        assert_eq!(network.run(), Ok(()), "run {run}");
        assert_eq!(network.conversation.counts.outages, 1, "run {run}");
    }
}
