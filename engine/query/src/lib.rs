//! SQL over DeltaLite files and tables, on DataFusion.
