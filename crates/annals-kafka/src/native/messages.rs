//! Taking all messages that were read, in one go.
//!
//! Of the end of a partition, rdkafka says only that it was reached. The offset at which it was is what tells offsets
//! that hold nothing (the marks of somebody's transactions) from records that are still to come.

use std::ffi::CStr;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;

/// What a consumer came upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found<R> {
    /// A record.
    Record { partition: i32, offset: i64, record: R },
    /// The partition ends before this offset now; all that is before it was found.
    End { partition: i32, offset: i64 },
    /// Nothing more of the partition is read, perhaps.
    Error { partition: i32, code: RDKafkaErrorCode },
}

/// How many messages are taken in one call.
const MESSAGES: usize = 500;

/// Waits for messages, at most so long, and gives all that are there, up to a number, to `take`: made of the first
/// header with this name, and the value.
pub(crate) fn consume<R>(
    consumer: &BaseConsumer,
    timeout: Duration,
    name: &CStr,
    make: impl Fn(Option<&[u8]>, &[u8]) -> R,
    mut take: impl FnMut(Found<R>),
) {
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client is alive while it is borrowed.
    let first = unsafe { native::rd_kafka_consumer_poll(consumer.client().native_ptr(), timeout_ms) };
    let Some(first) = Message::owned(first) else { return };
    take(first.found(name, &make));
    // SAFETY: as above; the reference to the queue is given back below.
    let Some(queue) =
        NonNull::new(unsafe { native::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) })
    else {
        return;
    };
    let mut messages = [std::ptr::null_mut(); MESSAGES];
    // SAFETY: the array has room for so many; what is put into it belongs to the caller.
    let count = unsafe {
        let count = native::rd_kafka_consume_batch_queue(queue.as_ptr(), 0, messages.as_mut_ptr(), MESSAGES);
        native::rd_kafka_queue_destroy(queue.as_ptr());
        count
    };
    let count = usize::try_from(count).unwrap_or_default();
    for message in messages.into_iter().take(count).filter_map(Message::owned) {
        take(message.found(name, &make));
    }
}

/// A message that was taken from a consumer's queue, and is ours until it is dropped.
struct Message(NonNull<native::rd_kafka_message_t>);

impl Message {
    fn owned(message: *mut native::rd_kafka_message_t) -> Option<Self> {
        NonNull::new(message).map(Self)
    }

    fn found<R>(&self, name: &CStr, make: impl Fn(Option<&[u8]>, &[u8]) -> R) -> Found<R> {
        // SAFETY: the message is alive until it is dropped.
        let message = unsafe { self.0.as_ref() };
        let (partition, offset) = (message.partition, message.offset);
        match message.err {
            native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                // SAFETY: librdkafka says how long the value is; it lives as long as the message.
                let value = unsafe { slice(message.payload, message.len) }.unwrap_or_default();
                Found::Record { partition, offset, record: make(self.header(name), value) }
            }
            native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => Found::End { partition, offset },
            code => Found::Error { partition, code: code.into() },
        }
    }

    fn header(&self, name: &CStr) -> Option<&[u8]> {
        let (mut headers, mut value, mut bytes) = (std::ptr::null_mut(), std::ptr::null(), 0);
        // SAFETY: headers and value belong to the message and live as long as it does; they are looked at only where
        // librdkafka says that it gave them.
        unsafe {
            let error = native::rd_kafka_message_headers(self.0.as_ptr(), &mut headers);
            if error != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            let error = native::rd_kafka_header_get(headers, 0, name.as_ptr(), &mut value, &mut bytes);
            if error != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            slice(value, bytes)
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: it was taken from the queue by this value alone.
        unsafe { native::rd_kafka_message_destroy(self.0.as_ptr()) };
    }
}

/// # Safety
/// `data` is null, or points to so many bytes that live for `'a`.
unsafe fn slice<'a>(data: *const std::ffi::c_void, bytes: usize) -> Option<&'a [u8]> {
    if data.is_null() {
        return None;
    }
    // SAFETY: the caller says so.
    Some(unsafe { std::slice::from_raw_parts(data.cast(), bytes) })
}
