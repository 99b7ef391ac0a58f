//! NUMA topology, aligned buffer pools and memory budgets for DeltaLite.
