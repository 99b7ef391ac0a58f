//! What can go wrong with a call, here or there, in a form that survives the wire.

use std::fmt;
use std::time::Duration;

use rkyv::{Archive, Deserialize, Serialize};

use crate::limits;

/// What kind of thing went wrong: what a program decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
#[repr(u8)]
pub enum ErrorKind {
    /// The caller gave up.
    Cancelled,
    /// The time allowed is over.
    DeadlineExceeded,
    /// The peer can't be reached, or the connection broke.
    Unavailable,
    /// The peer has more to do than it takes on.
    Overloaded,
    /// Who calls is not known.
    Unauthenticated,
    /// Who calls may not do this.
    PermissionDenied,
    /// What was asked for is not there.
    NotFound,
    /// The request makes no sense.
    InvalidArgument,
    /// The peer does not know the method, or not this version of it.
    Unimplemented,
    /// The bytes received are not what the protocol allows.
    Protocol,
    /// The two sides share no version.
    Incompatible,
    /// Something is larger than what was agreed on.
    TooLarge,
    /// The caller's view of the cluster is older than the peer's.
    Stale,
    /// What was asked for is damaged.
    DataLoss,
    /// Anything else at the peer.
    Internal,
}

impl ErrorKind {
    /// The code of errors that arise in this layer; see `deltalite explain-error`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Cancelled => "DL-0501",
            Self::DeadlineExceeded => "DL-0502",
            Self::Unavailable => "DL-0503",
            Self::Overloaded => "DL-0504",
            Self::Unauthenticated => "DL-0505",
            Self::PermissionDenied => "DL-0506",
            Self::NotFound => "DL-0507",
            Self::InvalidArgument => "DL-0508",
            Self::Unimplemented => "DL-0509",
            Self::Protocol => "DL-0510",
            Self::Incompatible => "DL-0511",
            Self::TooLarge => "DL-0512",
            Self::Stale => "DL-0513",
            Self::DataLoss => "DL-0514",
            Self::Internal => "DL-0515",
        }
    }
}

/// Whether the same call may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Retry {
    /// It will fail again.
    No,
    /// It may succeed after so many microseconds, here or at another peer. Only calls that may be repeated should be.
    After(u64),
}

/// A call, or a connection, failed.
///
/// ```
/// use deltalite_net::{ErrorKind, RpcError};
///
/// let error = RpcError::new(ErrorKind::NotFound, "table trips is not there").caused_by("no such folder: trips");
/// let there = RpcError::decode(&error.encode());
/// assert_eq!(there.kind(), ErrorKind::NotFound);
/// assert_eq!(there.to_string(), "table trips is not there: no such folder: trips");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct RpcError {
    kind: ErrorKind,
    retry: Retry,
    code: String,
    message: String,
    causes: Vec<String>,
    peer: Option<String>,
}

impl RpcError {
    /// An error of this layer's own code, not to be retried.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retry = match kind {
            ErrorKind::Unavailable | ErrorKind::Overloaded => Retry::After(0),
            _ => Retry::No,
        };
        Self {
            kind,
            retry,
            code: kind.code().to_owned(),
            message: message.into(),
            causes: Vec::new(),
            peer: None,
        }
    }

    /// With another code: that of the error that it stands for.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// With a cause, after those that it has.
    #[must_use]
    pub fn caused_by(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// To be tried again after this time.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry = Retry::After(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX));
        self
    }

    /// Not to be tried again.
    #[must_use]
    pub fn no_retry(mut self) -> Self {
        self.retry = Retry::No;
        self
    }

    /// With the address of the peer that it came from, where it has none yet.
    #[must_use]
    pub fn at_peer(mut self, peer: impl fmt::Display) -> Self {
        self.peer.get_or_insert_with(|| peer.to_string());
        self
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The error's code, of whatever layer it arose in.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What went wrong, without causes.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What led to it, the nearest first.
    pub fn causes(&self) -> &[String] {
        &self.causes
    }

    /// The peer it came from.
    pub fn peer(&self) -> Option<&str> {
        self.peer.as_deref()
    }

    /// Bytes of all its texts.
    pub(crate) fn text_bytes(&self) -> usize {
        self.code.len() + self.message.len() + self.causes.iter().map(String::len).sum::<usize>()
    }

    /// Whether the same call may succeed later, and how long to wait at least.
    pub fn retryable(&self) -> Option<Duration> {
        match self.retry {
            Retry::No => None,
            Retry::After(micros) => Some(Duration::from_micros(micros)),
        }
    }

    /// As it travels: rkyv, cut to what a frame may hold.
    pub fn encode(&self) -> Vec<u8> {
        let mut room = limits::ERROR_TEXT_BYTES_MAX;
        let mut cut = |text: &str| {
            let end = text.floor_char_boundary(room.min(text.len()));
            room -= end;
            text[..end].to_owned()
        };
        let small = Self {
            kind: self.kind,
            retry: self.retry,
            code: cut(&self.code),
            message: cut(&self.message),
            causes: self.causes.iter().take(limits::ERROR_CAUSES_MAX).map(|c| cut(c)).collect(),
            peer: None,
        };
        // Writing to memory fails only where memory does.
        rkyv::to_bytes::<rkyv::rancor::Error>(&small).map(|bytes| bytes.to_vec()).unwrap_or_default()
    }

    /// From the wire. What can't be read becomes an error that says so.
    pub fn decode(bytes: &[u8]) -> Self {
        rkyv::from_bytes::<Self, rkyv::rancor::Error>(bytes).unwrap_or_else(|e| {
            Self::new(ErrorKind::Protocol, "the peer sent an error that can't be read").caused_by(e)
        })
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(peer) = &self.peer {
            write!(f, "{peer}: ")?;
        }
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RpcError {}

/// What this crate's fallible functions return.
pub type Result<T, E = RpcError> = std::result::Result<T, E>;
