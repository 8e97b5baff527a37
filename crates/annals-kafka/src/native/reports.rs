//! Taking all delivery reports that are there, in one go.
//!
//! rdkafka hands reports out one by one and, polled with a timeout, keeps the thread until the timeout is over, so its
//! caller never learns where a batch of reports ends. Here a batch comes back as soon as there is one: what it
//! acknowledges is then written to the replica together, and those who wait are woken once.

use std::ffi::CStr;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;

/// A report on a record that was sent: the token it was sent with, and its offset or the client's error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) token: usize,
    pub(crate) written: Result<i64, RDKafkaErrorCode>,
}

/// The queue on which a producer's reports arrive.
pub(crate) struct Reports(NonNull<native::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for Reports {}

impl Reports {
    /// The queue of a producer, whose records carry a `usize` token. It must not outlive the producer.
    pub(crate) fn of<C: ClientContext>(producer: &Client<C>) -> Option<Self> {
        // SAFETY: the client is alive while it is borrowed; the reference that is returned is given back in `drop`.
        let queue = unsafe { native::rd_kafka_queue_get_main(producer.native_ptr()) };
        NonNull::new(queue).map(Self)
    }

    /// Waits for reports, at most so long, and adds them to `out`. Errors of the client (a broker that is gone, a fatal
    /// error) go to `context`.
    pub(crate) fn take(&self, timeout: Duration, context: &impl ClientContext, out: &mut Vec<Delivered>) {
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive until `drop`.
        let Some(event) = NonNull::new(unsafe { native::rd_kafka_queue_poll(self.0.as_ptr(), timeout_ms) })
        else {
            return;
        };
        // SAFETY: the event is alive until it is destroyed below, and so are its messages, of which nothing is kept.
        // `_private` is the token that the record was sent with.
        unsafe {
            match native::rd_kafka_event_type(event.as_ptr()) {
                native::RD_KAFKA_EVENT_DR => loop {
                    let message = native::rd_kafka_event_message_next(event.as_ptr());
                    let Some(message) = message.as_ref() else { break };
                    let failed = message.err != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
                    let written = if failed { Err(message.err.into()) } else { Ok(message.offset) };
                    out.push(Delivered { token: message._private as usize, written });
                },
                native::RD_KAFKA_EVENT_ERROR => {
                    let code = native::rd_kafka_event_error(event.as_ptr());
                    let text = native::rd_kafka_event_error_string(event.as_ptr());
                    let text = (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy());
                    context.error(rdkafka::error::KafkaError::Global(code.into()), &text.unwrap_or_default());
                }
                _ => {}
            }
            native::rd_kafka_event_destroy(event.as_ptr());
        }
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that `of` took; nothing uses the queue afterwards.
        unsafe { native::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}
