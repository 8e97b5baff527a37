//! A producer that tells on the client's own thread when a record is off its way, where the next ones can be sent
//! before that thread looks again for what to send.
//!
//! rdkafka's producers tell only whoever polls them, which is a change of threads later.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaType;

use native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR as NO_ERROR;
use native::rd_kafka_vtype_t as part;

/// Who hears when a record is off its way.
pub(crate) trait Listener: Send + Sync + 'static {
    /// A record was written, or it is not known whether it was. Called on any thread, once for each record that was
    /// sent, before its report. Where it was written, more may be sent on the lane; otherwise the client holds locks that
    /// sending takes.
    fn off_its_way(&self, written: bool, lane: &Lane);
}

/// What sends records to one topic.
pub(crate) struct Lane {
    client: *mut native::rd_kafka_t,
    topic: *mut native::rd_kafka_topic_t,
}

// SAFETY: librdkafka's handles may be used from any thread.
unsafe impl Send for Lane {}
// SAFETY: as above.
unsafe impl Sync for Lane {}

impl Lane {
    /// Hands a record with one header to the client, which copies it; with an error it was certainly not sent.
    pub(crate) fn send(
        &self,
        partition: i32,
        header: (&CStr, &[u8]),
        value: &[u8],
        token: usize,
    ) -> Result<(), RDKafkaErrorCode> {
        let (name, header) = header;
        // SAFETY: client and topic are alive while there is a lane; what the pointers point to is copied before this
        // returns. The list of parts ends with `END`, and each has the types that librdkafka reads.
        let code = unsafe {
            native::rd_kafka_producev(
                self.client,
                part::RD_KAFKA_VTYPE_RKT,
                self.topic,
                part::RD_KAFKA_VTYPE_PARTITION,
                partition,
                part::RD_KAFKA_VTYPE_MSGFLAGS,
                native::RD_KAFKA_MSG_F_COPY,
                part::RD_KAFKA_VTYPE_VALUE,
                value.as_ptr().cast::<c_void>(),
                value.len(),
                part::RD_KAFKA_VTYPE_HEADER,
                name.as_ptr(),
                header.as_ptr().cast::<c_void>(),
                header.len() as isize,
                part::RD_KAFKA_VTYPE_OPAQUE,
                token as *mut c_void,
                part::RD_KAFKA_VTYPE_END,
            )
        };
        if code == NO_ERROR { Ok(()) } else { Err(code.into()) }
    }
}

/// What librdkafka gives back with each record that is off its way.
struct Listening<L> {
    listener: Arc<L>,
    topic: AtomicPtr<native::rd_kafka_topic_t>,
}

/// A producer to one topic.
pub(crate) struct Sender<C: ClientContext, L> {
    lane: Lane,
    client: Client<C>,
    /// After the client, whose threads use it to the end.
    _listening: Arc<Listening<L>>,
}

impl<C: ClientContext, L: Listener> Sender<C, L> {
    /// Makes a producer to `topic`; it gets ready in the background.
    pub(crate) fn new(config: &ClientConfig, topic: &str, context: C, listener: Arc<L>) -> KafkaResult<Self> {
        let failed = |reason: &str| KafkaError::ClientCreation(reason.to_owned());
        let name = CString::new(topic)?;
        let listening = Arc::new(Listening { listener, topic: AtomicPtr::default() });
        let conf = config.create_native_config()?;
        // SAFETY: the configuration is alive, and what is added is alive for longer than the client, by the order of the
        // fields; the interceptor is called with that pointer and reads it as what it is.
        let added = unsafe {
            native::rd_kafka_conf_set_events(
                conf.ptr(),
                native::RD_KAFKA_EVENT_DR | native::RD_KAFKA_EVENT_ERROR,
            );
            native::rd_kafka_conf_interceptor_add_on_new(
                conf.ptr(),
                INTERCEPTOR.as_ptr(),
                Some(made::<L>),
                Arc::as_ptr(&listening).cast_mut().cast::<c_void>(),
            )
        };
        if added != NO_ERROR {
            return Err(failed("its reports cannot be listened to"));
        }
        let client = Client::new(config, conf, RDKafkaType::RD_KAFKA_PRODUCER, context)?;
        // SAFETY: the client is alive; the reference that is returned is given back in `drop`.
        let topic =
            unsafe { native::rd_kafka_topic_new(client.native_ptr(), name.as_ptr(), std::ptr::null_mut()) };
        let topic = NonNull::new(topic).ok_or_else(|| failed("the topic's name is not valid"))?.as_ptr();
        listening.topic.store(topic, Ordering::Release);
        Ok(Self { lane: Lane { client: client.native_ptr(), topic }, client, _listening: listening })
    }

    pub(crate) fn client(&self) -> &Client<C> {
        &self.client
    }

    pub(crate) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// How many records were handed over and not taken out of the queue of reports.
    pub(crate) fn unreported(&self) -> usize {
        // SAFETY: the client is alive.
        usize::try_from(unsafe { native::rd_kafka_outq_len(self.client.native_ptr()) }).unwrap_or_default()
    }

    /// Reports what was handed over and is not written as failed; it may be written all the same.
    pub(crate) fn purge(&self) {
        let all = native::RD_KAFKA_PURGE_F_QUEUE | native::RD_KAFKA_PURGE_F_INFLIGHT;
        // SAFETY: the client is alive.
        unsafe { native::rd_kafka_purge(self.client.native_ptr(), all) };
    }
}

impl<C: ClientContext, L> Drop for Sender<C, L> {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that `new` took; the client, which is alive, keeps its own while it sends.
        unsafe { native::rd_kafka_topic_destroy(self.lane.topic) };
    }
}

const INTERCEPTOR: &CStr = c"annals";

/// librdkafka made the client of this configuration: it can be listened to from here on.
unsafe extern "C" fn made<L: Listener>(
    client: *mut native::rd_kafka_t,
    _: *const native::rd_kafka_conf_t,
    listening: *mut c_void,
    _: *mut c_char,
    _: usize,
) -> native::rd_kafka_resp_err_t {
    // SAFETY: the client is the one that is being made, the only time at which this may be called.
    unsafe {
        native::rd_kafka_interceptor_add_on_acknowledgement(
            client,
            INTERCEPTOR.as_ptr(),
            Some(off_its_way::<L>),
            listening,
        )
    }
}

unsafe extern "C" fn off_its_way<L: Listener>(
    client: *mut native::rd_kafka_t,
    message: *mut native::rd_kafka_message_t,
    listening: *mut c_void,
) -> native::rd_kafka_resp_err_t {
    // SAFETY: librdkafka gives back what `Sender::new` gave it, which outlives the client, and a message that is alive.
    let (listening, written) =
        unsafe { (&*listening.cast_const().cast::<Listening<L>>(), (*message).err == NO_ERROR) };
    let lane = Lane { client, topic: listening.topic.load(Ordering::Acquire) };
    listening.listener.off_its_way(written, &lane);
    NO_ERROR
}
