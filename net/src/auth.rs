//! Who may call.

use std::fmt;
use std::net::SocketAddr;

use subtle::ConstantTimeEq;

use crate::call::server::Peer;
use crate::error::{ErrorKind, Result, RpcError};
use crate::hello::Hello;

/// Who calls, as far as it was proven.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its name: what the token belongs to, `certificate` for one proven by TLS alone, `anonymous` where nothing is asked.
    pub name: String,
}

/// What a caller wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action<'a> {
    /// The method called.
    pub method: u16,
    /// What it is about: the path of a table or file, as the caller gave it.
    pub resource: &'a str,
}

/// Says who may do what. Asked for each call.
pub trait Authorize: Send + Sync {
    /// Whether a caller may do this.
    ///
    /// # Errors
    /// Why not, as the caller is told.
    fn authorize(&self, caller: &Identity, action: &Action<'_>) -> Result<()>;
}

/// Who may do something with what: callers' names and paths, each with all that is below it.
///
/// ```
/// use deltalite_net::auth::{Action, Authorize, Grants, Identity};
///
/// let grants = Grants::default().allow("reports", "sales/2026").allow("*", "public");
/// let reports = Identity { name: "reports".to_owned() };
/// let may = |resource| grants.authorize(&reports, &Action { method: 1, resource }).is_ok();
/// assert!(may("sales/2026/orders") && may("public/calendar"));
/// assert!(!may("sales/2025") && !may("sales/2026-draft") && !may("public/../salaries"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Grants(Vec<(String, Vec<String>)>);

impl Grants {
    /// Allows a caller, or everybody (`*`), what is at a path and below; `.` is everything.
    #[must_use]
    pub fn allow(mut self, caller: impl Into<String>, path: &str) -> Self {
        let parts = path.split('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect();
        self.0.push((caller.into(), parts));
        self
    }

    /// Whether nothing is granted to anybody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Authorize for Grants {
    fn authorize(&self, caller: &Identity, action: &Action<'_>) -> Result<()> {
        let parts: Vec<&str> = action.resource.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        let granted = self
            .0
            .iter()
            .filter(|(name, _)| name == "*" || *name == caller.name)
            .any(|(_, path)| path.len() <= parts.len() && path.iter().zip(&parts).all(|(a, b)| a == b));
        if granted && !parts.contains(&"..") {
            return Ok(());
        }
        let what = format!("{} may not read {}", caller.name, action.resource);
        Err(RpcError::new(ErrorKind::PermissionDenied, what))
    }
}

/// A server's rules for callers. Debug output has no tokens.
#[derive(Clone, Default)]
pub struct Gate {
    tokens: Vec<(String, String)>,
    certificates: bool,
}

impl Gate {
    /// Everybody may call.
    pub fn open() -> Self {
        Self::default()
    }

    /// Who has this token may call, and is called `name`.
    #[must_use]
    pub fn token(mut self, name: impl Into<String>, token: impl Into<String>) -> Self {
        self.tokens.push((name.into(), token.into()));
        self
    }

    /// Who has proven a certificate to TLS may call.
    #[must_use]
    pub fn certificates(mut self) -> Self {
        self.certificates = true;
        self
    }

    /// Whether anybody is kept out.
    pub fn protects(&self) -> bool {
        self.certificates || !self.tokens.is_empty()
    }

    /// Who calls.
    ///
    /// # Errors
    /// Where that is not proven. What was wrong is not told.
    pub fn identify(&self, hello: &Hello, peer: &Peer) -> Result<Identity> {
        if !self.protects() {
            return Ok(Identity { name: "anonymous".to_owned() });
        }
        if let Some(given) = &hello.token {
            // Each is compared whole, whatever the others were: how long it takes tells nothing.
            let mut known = None;
            for (name, token) in &self.tokens {
                if bool::from(token.as_bytes().ct_eq(given.as_bytes())) {
                    known = Some(name);
                }
            }
            if let Some(name) = known {
                return Ok(Identity { name: name.clone() });
            }
        }
        if self.certificates && peer.certificate.is_some() {
            return Ok(Identity { name: "certificate".to_owned() });
        }
        let what = match &hello.token {
            Some(_) => "the token is not known here",
            None => "this server asks for a token; give one with --token or DELTALITE_CLIENT_TOKEN",
        };
        Err(RpcError::new(ErrorKind::Unauthenticated, what))
    }

    /// Whether a server may listen there: beyond loopback only with authentication.
    ///
    /// # Errors
    /// Where it may not.
    pub fn may_listen(&self, address: &SocketAddr) -> Result<()> {
        if address.ip().is_loopback() || self.protects() {
            return Ok(());
        }
        Err(RpcError::new(
            ErrorKind::InvalidArgument,
            format!(
                "{address} can be reached from other machines, and nobody would have to prove who they are; give --token, or listen on 127.0.0.1"
            ),
        ))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.tokens.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Gate").field("tokens_of", &names).field("certificates", &self.certificates).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(token: Option<&str>) -> Hello {
        Hello {
            version_min: 1,
            version: 1,
            features: 0,
            node: 0,
            frame_bytes_max: 1 << 20,
            streams_max: 1,
            shard: 0,
            shards: 0,
            token: token.map(str::to_owned),
            software: String::new(),
        }
    }

    #[test]
    fn only_who_has_proven_it_may_call() {
        let gate = Gate::open().token("reports", "s3cret").token("etl", "other");
        let peer = Peer::default();
        assert_eq!(gate.identify(&hello(Some("other")), &peer).unwrap().name, "etl");
        for wrong in [None, Some(""), Some("s3cre"), Some("s3cret "), Some("S3CRET")] {
            assert_eq!(gate.identify(&hello(wrong), &peer).unwrap_err().kind(), ErrorKind::Unauthenticated);
        }
        let proven = Peer { certificate: Some(vec![1]), ..Peer::default() };
        assert!(gate.identify(&hello(None), &proven).is_err());
        assert_eq!(gate.clone().certificates().identify(&hello(None), &proven).unwrap().name, "certificate");
        assert!(Gate::open().certificates().identify(&hello(None), &peer).is_err());
        assert!(!format!("{gate:?}").contains("s3cret"));
        assert!(!format!("{:?}", hello(Some("s3cret"))).contains("s3cret"));
    }

    #[test]
    fn beyond_loopback_only_with_authentication() {
        let far: SocketAddr = "0.0.0.0:7433".parse().unwrap();
        assert!(Gate::open().may_listen(&far).is_err());
        assert!(Gate::open().may_listen(&"127.0.0.1:1".parse().unwrap()).is_ok());
        assert!(Gate::open().may_listen(&"[::1]:1".parse().unwrap()).is_ok());
        assert!(Gate::open().token("a", "b").may_listen(&far).is_ok());
    }
}
