//! The one place that calls librdkafka directly, for what rdkafka does not give: all delivery reports that are there in
//! one go, a word on the client's own thread when a record is written, all messages that were read, and a topic's id.
#![allow(unsafe_code, reason = "calls of librdkafka")]

mod messages;
mod reports;
mod sender;
mod topic;

pub(crate) use messages::{Found, consume};
pub(crate) use reports::{Delivered, Reports};
pub(crate) use sender::{Lane, Listener, Sender};
pub(crate) use topic::{TopicId, topic_id};
