//! The id of a topic, which tells it from one of the same name that was made later.
//!
//! librdkafka reads on in the later one from where it was, and says nothing.

use std::ffi::CString;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

/// A topic's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicId(i64, i64);

/// Asks for the id of a topic; `None` where no broker says so in time, or there is no such topic.
pub(crate) fn topic_id(consumer: &BaseConsumer, topic: &str, timeout: Duration) -> Option<TopicId> {
    let name = CString::new(topic).ok()?;
    let question = Question::new(consumer, &name, timeout)?;
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: all that the question holds is alive until it is dropped. The answer is alive until it is destroyed, and
    // what it holds until then; of that, numbers are copied.
    unsafe {
        native::rd_kafka_DescribeTopics(
            consumer.client().native_ptr(),
            question.topics.as_ptr(),
            question.options.as_ptr(),
            question.queue.as_ptr(),
        );
        let event = NonNull::new(native::rd_kafka_queue_poll(question.queue.as_ptr(), timeout_ms))?;
        let id = id_in(event);
        native::rd_kafka_event_destroy(event.as_ptr());
        id
    }
}

/// # Safety
/// The event is alive.
unsafe fn id_in(event: NonNull<native::rd_kafka_event_t>) -> Option<TopicId> {
    // SAFETY: the caller's; each pointer is looked at only where it is not null, and the one topic where there is one.
    unsafe {
        let result = native::rd_kafka_event_DescribeTopics_result(event.as_ptr());
        if result.is_null() {
            return None;
        }
        let mut count = 0;
        let topics = native::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if topics.is_null() || count == 0 {
            return None;
        }
        let error = native::rd_kafka_error_code(native::rd_kafka_TopicDescription_error(*topics));
        let id = native::rd_kafka_TopicDescription_topic_id(*topics);
        if error != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || id.is_null() {
            return None;
        }
        let (most, least) = (
            native::rd_kafka_Uuid_most_significant_bits(id),
            native::rd_kafka_Uuid_least_significant_bits(id),
        );
        Some(TopicId(most, least)).filter(|id| *id != TopicId(0, 0))
    }
}

/// What is given to librdkafka with the question, and back to it when this is dropped.
struct Question {
    topics: NonNull<native::rd_kafka_TopicCollection_t>,
    options: NonNull<native::rd_kafka_AdminOptions_t>,
    queue: NonNull<native::rd_kafka_queue_t>,
}

impl Question {
    fn new(consumer: &BaseConsumer, name: &CString, timeout: Duration) -> Option<Self> {
        let client = consumer.client().native_ptr();
        let mut names = [name.as_ptr()];
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the client is alive while it is borrowed; the name is copied; nothing is returned in the error text.
        unsafe {
            let question = Self {
                topics: NonNull::new(native::rd_kafka_TopicCollection_of_topic_names(
                    names.as_mut_ptr(),
                    names.len(),
                ))?,
                options: NonNull::new(native::rd_kafka_AdminOptions_new(
                    client,
                    native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
                ))?,
                queue: NonNull::new(native::rd_kafka_queue_new(client))?,
            };
            native::rd_kafka_AdminOptions_set_request_timeout(
                question.options.as_ptr(),
                timeout_ms,
                std::ptr::null_mut(),
                0,
            );
            Some(question)
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        // SAFETY: each was made by `new` and is used by nobody else.
        unsafe {
            native::rd_kafka_TopicCollection_destroy(self.topics.as_ptr());
            native::rd_kafka_AdminOptions_destroy(self.options.as_ptr());
            native::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}
