//! Where a server may listen.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// From where a server may be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Loopback addresses alone.
    #[default]
    ThisMachine,
    /// Any address. The server needs a file of keys then, and something in front of it that speaks TLS: what is sent to
    /// it directly, keys included, can be read on the way.
    Everywhere,
}

/// An address or a path at which the server does not listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Write the address as an IP address and a port.
    #[error("{0:?} is not an address to listen on; write it like 127.0.0.1:7400 or [::1]:7400")]
    Invalid(String),
    /// Listen on a loopback address, or say that it may be reached from everywhere, with a file of keys.
    #[error(
        "{0} can be reached from other machines, which takes a file of keys and, since this server speaks no TLS, \
         a proxy in front that does; listen on 127.0.0.1 or [::1]"
    )]
    NotLoopback(SocketAddr),
    /// Move the log to a directory with a shorter path.
    #[error(
        "the path of socket {} has {bytes} bytes, the system takes at most {bytes_max}; \
         use a directory with a shorter path",
        path.display()
    )]
    PathTooLong {
        /// The socket's path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
        /// The system's limit.
        bytes_max: usize,
    },
    /// Stop the other process first.
    #[error("another process answers at {}; stop it first", path.display())]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// Remove what lies there, if it may go.
    #[error("{} is there already and is no socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Look at what the operating system says.
    #[error("cannot listen on {at}: {source}")]
    System {
        /// The address or path.
        at: String,
        /// What it said.
        source: io::Error,
    },
}

/// The address in `text`, if a server of this reach may listen there; `localhost` is 127.0.0.1.
///
/// Port 0 lets the system choose one.
pub fn check_listen(text: &str, reach: Reach) -> Result<SocketAddr, ListenError> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    let address: SocketAddr = numeric.parse().map_err(|_| ListenError::Invalid(text.to_owned()))?;
    check_reach(address, reach)?;
    Ok(address)
}

/// Refuses an address that other machines reach, unless they may.
pub(crate) fn check_reach(address: SocketAddr, reach: Reach) -> Result<(), ListenError> {
    // An IPv4 address in IPv6 clothes is what it is in IPv4.
    let is_loopback = address.ip().to_canonical().is_loopback();
    if is_loopback || reach == Reach::Everywhere { Ok(()) } else { Err(ListenError::NotLoopback(address)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_are_taken() {
        for (text, address) in [
            ("127.0.0.1:7400", "127.0.0.1:7400"),
            ("127.255.0.3:0", "127.255.0.3:0"),
            ("[::1]:7400", "[::1]:7400"),
            ("[::ffff:127.0.0.1]:7400", "[::ffff:127.0.0.1]:7400"),
            ("localhost:7400", "127.0.0.1:7400"),
        ] {
            assert_eq!(check_listen(text, Reach::ThisMachine).unwrap().to_string(), address);
        }
    }

    #[test]
    fn addresses_that_others_reach_are_refused() {
        for text in [
            "0.0.0.0:7400",
            "[::]:7400",
            "192.168.0.1:7400",
            "128.0.0.1:1",
            "[::ffff:10.0.0.1]:1",
            "[fe80::1]:1",
        ] {
            let here = check_listen(text, Reach::ThisMachine);
            assert!(matches!(here, Err(ListenError::NotLoopback(_))), "{text}");
            assert!(check_listen(text, Reach::Everywhere).is_ok());
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "7400",
            ":7400",
            "127.0.0.1",
            "localhost",
            "localhost:",
            "127.0.0.1:65536",
            "bank.example:80",
        ] {
            assert!(matches!(check_listen(text, Reach::Everywhere), Err(ListenError::Invalid(_))), "{text}");
        }
    }
}
