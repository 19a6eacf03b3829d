//! Every event of a conversation, and when it is possible.

use super::model::TEXTS;
use super::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    Say,
    SayTooLong,
    EndInput,
    FailInput,
    Connect,
    FailToConnect,
    Send,
    HalfClose,
    Acknowledge,
    /// The message itself comes back, with its CR if it has one.
    Echo,
    /// All that is in flight is acknowledged in one read.
    AcknowledgeAll,
    Reject,
    AnswerWrongly,
    /// Some bytes of a reply come, but not its LF.
    BeginReply,
    EndReply,
    EndReplyWrongly,
    /// More bytes come than the longest reply has, and no LF.
    SendTooLongReply,
    Refuse,
    Close,
    /// A read times out soon after the last event.
    Wait,
    /// A read times out after the longest time that a reply may take.
    WaitLong,
    /// A read times out when the outage has lasted for as long as one may.
    WaitOutOutage,
    EndStream,
    Reset,
    /// The loop that connects learns why the connection ended.
    Lose,
    /// A connect fails when the outage has lasted for as long as one may.
    GiveUp,
}

pub(super) const EVENTS: [Event; 26] = [
    Event::Say,
    Event::SayTooLong,
    Event::EndInput,
    Event::FailInput,
    Event::Connect,
    Event::FailToConnect,
    Event::Send,
    Event::HalfClose,
    Event::Acknowledge,
    Event::Echo,
    Event::AcknowledgeAll,
    Event::Reject,
    Event::AnswerWrongly,
    Event::BeginReply,
    Event::EndReply,
    Event::EndReplyWrongly,
    Event::SendTooLongReply,
    Event::Refuse,
    Event::Close,
    Event::Wait,
    Event::WaitLong,
    Event::WaitOutOutage,
    Event::EndStream,
    Event::Reset,
    Event::Lose,
    Event::GiveUp,
];

impl World {
    pub(super) fn is_possible(&self, event: Event) -> bool {
        let model = &self.model;
        let settings = &self.conversation.settings;
        let is_awaited = !model.is_resting || model.unacknowledged() > 0;
        let connects = !model.is_connected && self.end.is_none() && is_awaited;
        let awaits = model.in_flight() > 0;
        match event {
            _ if self.outcome.is_some() => false,
            Event::Say | Event::SayTooLong => {
                let is_window_open = model.unacknowledged() < settings.window;
                is_window_open && model.input.is_none() && model.lines < TEXTS.len()
            }
            Event::EndInput | Event::FailInput => model.input.is_none(),
            Event::Lose => self.end.is_some(),
            Event::Connect | Event::FailToConnect => connects,
            Event::GiveUp => connects && model.is_outage,
            _ if !model.is_connected => false,
            Event::Send => model.sent < model.messages.len() && model.left() > 0,
            Event::HalfClose => {
                let is_all_sent = model.sent == model.messages.len() && model.input.is_some();
                (is_all_sent || model.left() == 0)
                    && settings.half_close
                    && !model.is_half_closed
                    && !model.is_done()
            }
            Event::EndReply | Event::EndReplyWrongly => self.is_mid_reply,
            Event::Echo => awaits && !self.is_mid_reply,
            Event::AcknowledgeAll => model.in_flight() > 1 && !self.is_mid_reply,
            Event::WaitOutOutage => awaits && model.is_outage,
            Event::Wait | Event::WaitLong | Event::EndStream | Event::Reset => true,
            // Every connection has its own reader, and this event is slow.
            Event::SendTooLongReply => self.losses == 0 && model.connections == 1,
            Event::Acknowledge | Event::Reject | Event::AnswerWrongly => !self.is_mid_reply,
            Event::BeginReply | Event::Refuse | Event::Close => !self.is_mid_reply,
        }
    }
}
