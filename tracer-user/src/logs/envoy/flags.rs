//! Response flags: short names, as the text form has them, and long ones.

/// Short and long names:
/// <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#response-flags>.
const NAMES: &[(&str, &str)] = &[
    ("UF", "UpstreamConnectionFailure"),
    ("UC", "UpstreamConnectionTermination"),
    ("UT", "UpstreamRequestTimeout"),
    ("UPE", "UpstreamProtocolError"),
    ("UR", "UpstreamRemoteReset"),
    ("LR", "LocalReset"),
    ("UH", "NoHealthyUpstream"),
    ("UO", "UpstreamOverflow"),
    ("URX", "UpstreamRetryLimitExceeded"),
    ("NR", "NoRouteFound"),
    ("NC", "NoClusterFound"),
    ("DC", "DownstreamConnectionTermination"),
    ("DR", "DownstreamRemoteReset"),
    ("DPE", "DownstreamProtocolError"),
    ("SI", "StreamIdleTimeout"),
    ("DT", "DurationTimeout"),
    ("UMSDR", "UpstreamMaxStreamDurationReached"),
    ("DF", "DnsResolutionFailed"),
    ("LH", "FailedLocalHealthCheck"),
    ("OM", "OverloadManagerTerminated"),
    ("DO", "DropOverload"),
    ("UDO", "UnconditionalDropOverload"),
    ("IH", "InvalidEnvoyRequestHeaders"),
    ("RL", "RateLimited"),
    ("UAEX", "UnauthorizedExternalService"),
    ("RLSE", "RateLimitServiceError"),
    ("DI", "DelayInjected"),
    ("FI", "FaultInjected"),
    ("RFCF", "ResponseFromCacheFilter"),
    ("NFCF", "NoFilterConfigFound"),
];

/// Flags of one request. What is no flag is left out: filters may add their own.
#[derive(Clone, Copy)]
pub(super) struct Flags<'a>(pub(super) &'a str);

impl Flags<'_> {
    /// Short names.
    fn iter(&self) -> impl Iterator<Item = &'static str> {
        self.0.split(',').filter_map(short)
    }

    pub(super) fn has(&self, flag: &str) -> bool {
        self.iter().any(|known| known == flag)
    }

    pub(super) fn any(&self) -> bool {
        self.iter().next().is_some()
    }
}

/// Flags that are known, with commas between them, or `-`.
pub(super) fn are_flags(text: &str) -> bool {
    text == "-" || (!text.is_empty() && text.split(',').all(|name| short(name).is_some()))
}

fn short(name: &str) -> Option<&'static str> {
    let name = name.trim();
    let is = |known: &&(&str, &str)| known.0 == name || known.1 == name;
    NAMES.iter().find(is).map(|(short, _)| *short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_flags() {
        assert!(Flags("URX,UF").has("UF"));
        assert!(Flags("UpstreamRetryLimitExceeded, UpstreamConnectionFailure").has("UF"));
        assert!(!Flags("UFX").any());
        assert!(!Flags("-").any());
        for (text, are) in [
            ("-", true),
            ("UC", true),
            ("UF,URX", true),
            ("UF,shop", false),
            ("", false),
            ("GET", false),
        ] {
            assert_eq!(are_flags(text), are, "{text}");
        }
    }
}
