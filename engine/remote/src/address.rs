//! `deltalite://host:port/name`: what a server has, as one text.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use deltalite_net::{ErrorKind, Result, RpcError};
use percent_encoding::percent_decode_str;

use crate::protocol::{At, Target};

/// The scheme.
pub const SCHEME: &str = "deltalite://";
/// The port of a server's first shard, where none is given.
pub const PORT: u16 = 7433;

/// A table or file of a server.
///
/// ```
/// use deltalite_remote::Address;
/// use deltalite_remote::protocol::At;
///
/// let address: Address = "deltalite://scan-7:9000/sales/trips?version=12".parse()?;
/// assert_eq!((address.host.as_str(), address.port), ("scan-7", 9000));
/// assert_eq!((address.target.path.as_str(), address.target.at), ("sales/trips", At::Version(12)));
/// assert_eq!(address.to_string(), "deltalite://scan-7:9000/sales/trips?version=12");
/// # Ok::<(), deltalite_remote::RpcError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or number of the machine.
    pub host: String,
    /// Port of one of its shards.
    pub port: u16,
    /// What is meant.
    pub target: Target,
}

impl Address {
    /// Whether a text is meant to be one.
    pub fn is_address(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// The machine's address.
    ///
    /// # Errors
    /// Where its name is not known.
    pub fn resolve(&self) -> Result<SocketAddr> {
        let failed = |why: String| {
            RpcError::new(ErrorKind::Unavailable, format!("no address is known of {:?}: {why}", self.host))
                .no_retry()
        };
        (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|e| failed(e.to_string()))?
            .next()
            .ok_or_else(|| failed("the name has none".to_owned()))
    }
}

impl FromStr for Address {
    type Err = RpcError;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            RpcError::new(
                ErrorKind::InvalidArgument,
                format!("{text:?} is no address: {why}; write it as deltalite://host:port/table"),
            )
        };
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| wrong("it does not begin with deltalite://"))?;
        let (authority, path) = rest.split_once('/').ok_or_else(|| wrong("the table is missing"))?;
        // An IPv6 address is in brackets, and has colons of its own.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong("the port is no number up to 65535"))?)
            }
            _ => (authority, PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong("the host is missing"));
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = percent_decode_str(path.trim_end_matches('/'))
            .decode_utf8()
            .map_err(|_| wrong("the table's name is no UTF-8"))?
            .into_owned();
        if path.is_empty() {
            return Err(wrong("the table is missing"));
        }
        let at = match query.split_once('=') {
            None if query.is_empty() => At::Latest,
            Some(("version", n)) => At::Version(n.parse().map_err(|_| wrong("the version is no number"))?),
            Some(("timestamp", ms)) => At::Timestamp(
                ms.parse().map_err(|_| wrong("the timestamp is no number of milliseconds since 1970"))?,
            ),
            _ => return Err(wrong("after ? only version=N or timestamp=MILLISECONDS can be")),
        };
        Ok(Self { host: host.to_owned(), port, target: Target { path, at } })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let path = self.target.path.replace('%', "%25").replace('?', "%3F");
        write!(f, "{SCHEME}{host}:{}/{path}", self.port)?;
        match self.target.at {
            At::Latest => Ok(()),
            At::Version(n) => write!(f, "?version={n}"),
            At::Timestamp(ms) => write!(f, "?timestamp={ms}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_wrong_ones_explained() {
        let read = |text: &str| text.parse::<Address>();
        assert_eq!(read("deltalite://h/t").unwrap().port, PORT);
        let six = read("deltalite://[::1]:80/a%20b.dlb").unwrap();
        assert_eq!((six.host.as_str(), six.port, six.target.path.as_str()), ("::1", 80, "a b.dlb"));
        assert_eq!(read(&six.to_string()).unwrap(), six);
        assert_eq!(read("deltalite://[::1]/t").unwrap().host, "::1");
        for (text, why) in [
            ("http://h/t", "begin with"),
            ("deltalite://h", "table is missing"),
            ("deltalite://h/", "table is missing"),
            ("deltalite://:80/t", "host is missing"),
            ("deltalite://h:99999/t", "port"),
            ("deltalite://h/t?version=x", "version"),
            ("deltalite://h/t?x=1", "after ?"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
