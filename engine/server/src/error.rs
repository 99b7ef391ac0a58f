//! Errors of lower layers as they travel: with their code, and what a caller can do.

use deltalite_format::FormatError;
use deltalite_net::{ErrorKind, RpcError};
use deltalite_shard::ShardError;
use deltalite_shard::device::DeviceError;
use deltalite_table::TableError;

pub(crate) fn of_shard(error: &ShardError) -> RpcError {
    let kind = match error {
        ShardError::Format(error) => return of_format(error),
        ShardError::Busy { retry_after, .. } => {
            return RpcError::new(ErrorKind::Overloaded, error.to_string())
                .with_code(error.code())
                .retry_after(*retry_after);
        }
        ShardError::Memory(_) => ErrorKind::Overloaded,
        ShardError::TaskCancelled | ShardError::Stopped { .. } => ErrorKind::Unavailable,
        ShardError::Device(DeviceError::Changed { .. } | DeviceError::Vanished { .. }) => ErrorKind::NotFound,
        ShardError::Device(_) => ErrorKind::DataLoss,
        _ => ErrorKind::Internal,
    };
    RpcError::new(kind, error.to_string()).with_code(error.code())
}

pub(crate) fn of_format(error: &FormatError) -> RpcError {
    let kind = match error {
        FormatError::Corrupt { .. } | FormatError::Checksum { .. } | FormatError::NotDeltaLite { .. } => {
            ErrorKind::DataLoss
        }
        FormatError::NoSuchColumn { .. } | FormatError::Invalid { .. } => ErrorKind::InvalidArgument,
        FormatError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            ErrorKind::NotFound
        }
        _ => ErrorKind::Internal,
    };
    RpcError::new(kind, error.to_string()).with_code(error.code())
}

pub(crate) fn of_table(error: &TableError) -> RpcError {
    let kind = match error {
        TableError::Data(error) => return of_shard(error),
        TableError::NoSuchVersion { .. } => ErrorKind::NotFound,
        _ => ErrorKind::Internal,
    };
    RpcError::new(kind, error.to_string()).with_code(error.code())
}
