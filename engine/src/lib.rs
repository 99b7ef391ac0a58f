//! DeltaLite: a transactional columnar table engine. The facade library and the deltalite binary.
