//! All states that a few lines and a few lost connections can lead to, by every
//! order of events. In each of them the conversation must look as the model
//! does, and a server that behaves must be able to bring it to its end.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

use super::events::{EVENTS, Event};
use super::model::Answer;
use super::world::World;
use super::*;

/// What was covered.
#[derive(Default)]
struct Covered {
    states: usize,
    transitions: usize,
    events: HashSet<Event>,
    ends: HashSet<&'static str>,
    outcomes: HashSet<&'static str>,
}

#[test]
fn in_every_order_of_events_each_reply_is_printed_once() {
    let hour = 3600 * SECOND;
    let zero = Duration::ZERO;
    // window, retry_for, half_close, most_lost, reconnect_every
    let cases = [
        (4, hour, false, 3, None),
        (2, hour, true, 1, None),
        (4, zero, false, 1, None),
        (2, zero, true, 1, None),
        (4, hour, false, 1, Some(1)),
        (4, hour, true, 1, Some(2)),
        (2, zero, true, 1, Some(1)),
        (4, zero, false, 1, Some(2)),
    ];
    let mut covered = Covered::default();
    for (window, retry_for, half_close, most_lost, reconnect_every) in cases {
        let settings = Settings {
            window,
            retry_for,
            half_close,
            reconnect_every,
            reply_prefix: [wire::DEFAULT_PREFIX, ""].map(str::to_string).to_vec(),
            ..settings()
        };
        explore(&settings, most_lost, &mut covered);
    }
    let Covered {
        states,
        transitions,
        events,
        ends,
        outcomes,
    } = covered;
    println!("{states} states and {transitions} transitions");
    assert!(states > 5_000 && transitions > 20_000);
    let unreached = EVENTS.iter().filter(|event| !events.contains(event));
    assert_eq!(unreached.collect::<Vec<_>>(), Vec::<&Event>::new());
    assert_eq!(ends.len(), 5, "{ends:?}");
    assert_eq!(outcomes.len(), 6, "{outcomes:?}");
}

/// Goes breadth-first through all states. After more than `most_lost` lost connections, it
/// checks the loss, and goes no further.
fn explore(settings: &Settings, most_lost: usize, covered: &mut Covered) {
    let covered_before = covered.states;
    let first = World::new(settings);
    let mut seen = HashSet::from([first.key()]);
    let mut worlds = VecDeque::from([first]);
    while let Some(here) = worlds.pop_front() {
        covered.states += 1;
        if here.losses > most_lost {
            continue;
        }
        for event in EVENTS {
            if !here.is_possible(event) {
                continue;
            }
            let mut world = here.clone();
            world.happen(event);
            covered.transitions += 1;
            covered.events.insert(event);
            covered.ends.extend(end_of(event, &world));
            covered.outcomes.extend(outcome_of(&world));
            world.check();
            if seen.insert(world.key()) {
                worlds.push_back(world.clone());
                world.heal();
            }
        }
    }
    let states = covered.states - covered_before;
    println!("{states} states of {settings:?}");
}

/// Returns which kind of end an event has brought about.
fn end_of(event: Event, world: &World) -> Option<&'static str> {
    match &world.end {
        None if matches!(event, Event::FailToConnect | Event::GiveUp) => Some("unreachable"),
        None => None,
        Some(Loss::Unreachable { .. }) => Some("not of a connection"),
        Some(Loss::NotServed(_)) => Some("refused"),
        Some(Loss::Ended) => Some("closed"),
        Some(Loss::Broken(_)) => Some("broken"),
        Some(Loss::Violation(_)) => Some("violation"),
    }
}

fn outcome_of(world: &World) -> Option<&'static str> {
    Some(match world.outcome.as_ref()? {
        Ok(()) => "success",
        Err(why) if why.contains("were not acknowledged") => "not all acknowledged",
        Err(why) if why.starts_with("cannot read standard input") => "bad input",
        Err(why) if why.starts_with("gave up on ") => "given up",
        Err(why) if why.contains(" is no line echo server") => "no echo",
        Err(_) => "lost",
    })
}

impl World {
    /// Asserts that the conversation looks as it should.
    fn check(&mut self) {
        let conversation = &self.conversation;
        let model = &self.model;
        let counts = &conversation.counts;
        assert_eq!(self.printed, model.printed);
        assert_eq!(counts.replies.acknowledged, model.acknowledged());
        let by_prefix = [Answer::Acknowledged, Answer::Echoed].map(|had| model.count(had));
        assert_eq!(counts.replies.by_prefix, by_prefix);
        assert_eq!(counts.replies.rejected, model.count(Answer::Rejected));
        assert_eq!(counts.replies.wrong, model.count(Answer::Wrong));
        assert_eq!(counts.too_long, model.too_long);
        assert_eq!(counts.sent_again, model.sent_again);
        assert_eq!(counts.outages, model.outages);
        assert_eq!(counts.connections, model.connections);
        assert_eq!(conversation.outbox.len(), model.unacknowledged());
        // Until it is known to the loop that connects, a loss changes nothing here.
        let in_flight = match self.end {
            Some(_) => model.sent - model.answers.len(),
            None => model.in_flight(),
        };
        assert_eq!(conversation.outbox.in_flight(), in_flight);
        // No more can be in flight than a connection is for.
        let window = conversation.settings.window;
        assert!(window <= model.reconnect_every.unwrap_or(usize::MAX));
        assert_eq!(
            conversation.is_window_open(),
            model.unacknowledged() < window && !self.is_given_up
        );
        let is_users_turn = model.unacknowledged() == 0 && model.input.is_none();
        assert_eq!(
            conversation.awaits_input(),
            is_users_turn && (model.is_connected || model.is_resting)
        );
        assert_eq!(conversation.is_done(), model.is_done());
        let is_success = conversation.is_done() && conversation.verdict().is_ok();
        assert_eq!(is_success, model.is_success());
        if let Some(outcome) = &self.outcome {
            assert_eq!(outcome.is_ok(), is_success && !self.is_given_up);
        }

        let warnings = |text: &str| {
            let is_it = |news: &&News| news.level == Level::Warn && news.line.contains(text);
            self.news.iter().filter(is_it).count() as u64
        };
        let began = model.outages + u64::from(model.is_outage);
        assert_eq!(warnings("; trying again for up to 3600 s"), began);
        assert_eq!(warnings("connected to server again after "), model.outages);
        let errors = self.news.iter().filter(|news| news.level == Level::Error);
        assert_eq!(
            errors.count() as u64,
            counts.too_long + counts.replies.rejected + counts.replies.wrong
        );

        self.check_end();

        // Nothing is sent unless it is time for it.
        if !self.is_possible(Event::Send) && !self.is_possible(Event::HalfClose) {
            let waits = self.model.is_connected && !self.model.is_done();
            let nothing = if waits { None } else { Some(ToSend::Over) };
            assert_eq!(self.take_unsent(), (nothing, Vec::new()));
        }
    }

    /// Asserts that a run which ends at this moment reports what has happened, and nothing
    /// that could not be printed.
    fn check_end(&self) {
        let model = &self.model;
        for is_printing in [false, true] {
            let mut conversation = self.conversation.clone();
            conversation.printing.has_unprinted = is_printing;
            let printed = if is_printing {
                conversation.printing.replies_before.total()
            } else {
                model.answers.len() as u64
            };
            let end = conversation.conclude(self.now);
            assert_eq!(end.counts.replies.total(), printed);
            let messages = model.messages.len() as u64;
            assert_eq!(end.unacknowledged, messages - printed);
            assert_eq!(end.never_sent, messages - model.ever_sent as u64);
            assert_eq!(
                end.counts.outages,
                model.outages + u64::from(model.is_outage)
            );
            assert_eq!(end.outage, None);
        }
    }

    /// Lets a well-behaved server answer to the end, and asserts that it is the right
    /// end.
    fn heal(mut self) {
        for _ in 0..30 {
            let next = [
                Event::Lose,
                Event::EndInput,
                Event::Connect,
                Event::Send,
                Event::EndReply,
                Event::Acknowledge,
                Event::EndStream,
            ];
            let awaits = self.model.in_flight() > 0;
            let is_next = |event: &Event| match event {
                Event::EndReply | Event::Acknowledge => awaits && self.is_possible(*event),
                _ => self.is_possible(*event),
            };
            match next.into_iter().find(is_next) {
                Some(event) => self.happen(event),
                None => break,
            }
        }
        self.check();
        assert!(self.outcome.is_some());
        assert!(self.is_given_up || self.model.is_done());
    }

    /// Returns everything on which the further events of this state depend: no times, and of
    /// the counts only those that the verdict depends on.
    fn key(&self) -> impl Eq + Hash + use<> {
        let conversation = &self.conversation;
        let model = &self.model;
        let acknowledged = model.acknowledged() as usize;
        let is_final = matches!(self.end, Some(Loss::Violation(_))) || self.is_waited_out;
        let link = match conversation.link {
            Link::Down => None,
            Link::Resting => Some(None),
            Link::Connecting { .. } => Some(Some((false, None))),
            Link::Up {
                left, half_closed, ..
            } => Some(Some((half_closed, model.reconnect_every.map(|_| left)))),
        };
        (
            (model.lines, model.messages.len(), model.input),
            (
                model.answers.len(),
                model.answers.len() == acknowledged,
                acknowledged > 0,
            ),
            (
                model.replies_here > 0,
                model.replies_here == model.wrong_here,
            ),
            (model.sent, model.ever_sent, self.is_mid_reply),
            (model.is_resting, model.reconnect_every.map(|_| model.asked)),
            model.connections > 0,
            (model.is_half_closed, model.is_outage),
            (self.losses, self.end.is_some(), is_final),
            self.outcome.is_some(),
            // The conversation's own view, which may differ from the model's.
            link,
            conversation.reply_awaited_since.is_some(),
        )
    }
}
