//! Ports on the loopback address, reserved for as long as someone may want to listen there again.
//!
//! A port that the system gives out is free only until somebody else asks, and a broker that was killed must come
//! back on its own port while its clients keep trying it. So ports are taken from below the range that systems use
//! for outgoing connections, and each is reserved between processes by a lock on a file in the cache.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::cache::Lock;
use crate::error::ServiceError;

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port that no other user of this module takes while the value lives.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    _lock: Lock,
}

impl Port {
    /// Reserves `count` ports where nobody listens.
    pub(crate) fn reserve(count: usize, cache: &Path) -> Result<Vec<Self>, ServiceError> {
        let directory = cache.join("ports");
        fs::create_dir_all(&directory).map_err(ServiceError::io(&directory))?;
        // Somewhere in the range: processes that start together should not try each other's ports one by one.
        let start = u16::try_from(uuid::Uuid::new_v4().as_u128() % u128::from(COUNT)).unwrap_or_default();
        let mut ports = Vec::with_capacity(count);
        for step in 0..COUNT {
            let number = FIRST + (start + step) % COUNT;
            ports.extend(Self::take(number, &directory)?);
            if ports.len() == count {
                return Ok(ports);
            }
        }
        Err(ServiceError::NoFreePort { first: FIRST, last: FIRST + COUNT - 1 })
    }

    fn take(number: u16, directory: &Path) -> Result<Option<Self>, ServiceError> {
        let Some(lock) = Lock::try_take(&directory.join(number.to_string()))? else { return Ok(None) };
        let is_free = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok();
        Ok(is_free.then_some(Self { number, _lock: lock }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_reserved_until_it_is_dropped() {
        let cache = tempfile::tempdir().unwrap();
        let ports = Port::reserve(3, cache.path()).unwrap();
        let number = ports[0].number;
        assert!((FIRST..FIRST + COUNT).contains(&number));
        assert!(Port::take(number, &cache.path().join("ports")).unwrap().is_none());
        drop(ports);
        assert!(Port::take(number, &cache.path().join("ports")).unwrap().is_some());
    }

    #[test]
    fn a_port_that_is_listened_on_is_not_taken() {
        let cache = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let number = listener.local_addr().unwrap().port();
        assert!(Port::take(number, cache.path()).unwrap().is_none());
    }
}
