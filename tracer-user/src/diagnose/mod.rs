//! Rules: from a case's facts to a verdict.
