//! Simulation: the whole stack (calls, connections, drivers) over a simulated network, in simulated time, from a seed.
//!
//! | module | job |
//! |---|---|
//! | `world` | time, tasks and the order in which they run |
//! | `wire` | sockets: delay, small buffers, resets, partitions, half-open connections |
//! | `tap` | listens to the wire and checks the promises of credit, independently of the code under test |
//! | `service` | what is called |
//! | `schedule` | a random world with random calls, and what must hold at its end |
//! | `pool` | a pool whose peers come and go |
//! | `hostile` | peers that do not keep to the protocol, over every driver |
//! | `suite` | what must hold over every driver: simulated, tokio, glommio, with and without TLS |

mod hostile;
mod pool;
pub(crate) mod schedule;
pub(crate) mod service;
mod suite;
mod tap;
pub(crate) mod wire;
pub(crate) mod world;
