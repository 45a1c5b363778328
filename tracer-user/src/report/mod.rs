//! Reports: the document of the contract, as JSON, NDJSON and text.
