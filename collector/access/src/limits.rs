//! Every bound of the access tables, by name.
//!
//! A table that is full refuses with a sentence that names the limit, and the
//! refusal is a line of the audit; rows whose time is over are swept away first.

use signalbox_proto::units::Millis;

/// Join tokens that are kept, used up and revoked ones included.
pub const JOIN_TOKENS_MAX: usize = 1_000;
/// A join token lives at most this long.
pub const JOIN_TOKEN_LIFE_MAX: Millis = days(30);
/// And lets at most this many agents in.
pub const JOIN_TOKEN_USES_MAX: u32 = 10_000;
/// A join token whose time is over is listed this long.
pub const JOIN_TOKEN_SHOWN: Millis = days(7);
/// Networks of a join token.
pub const CIDRS_MAX: usize = 64;
/// Agents that wait for an admin's approval.
pub const PENDING_MAX: usize = 1_000;
/// Of these that wait from one address, or one IPv6 network of 64 bits.
pub const PENDING_PER_ADDRESS_MAX: usize = 50;
/// How long they wait before they are forgotten.
pub const PENDING_LIFE: Millis = days(7);
/// Agents with an identity.
pub const AGENTS_MAX: usize = 20_000;
/// Keys of one agent that are remembered, replaced ones included.
pub const KEYS_PER_AGENT_MAX: usize = 4;
/// Life of an agent's certificate.
pub const CERTIFICATE_LIFE: Millis = days(7);
/// A known key may be renewed this long after its certificate has ended.
pub const RENEW_AFTER_END: Millis = days(90);
/// Certificate request of a waiting agent, bytes.
pub const CSR_MAX_BYTES: usize = 4_096;
/// Users, disabled ones included.
pub const USERS_MAX: usize = 1_000;
/// Sessions of all users.
pub const SESSIONS_MAX: usize = 10_000;
/// Sessions of one user: the one that is unused longest ends when another begins.
pub const SESSIONS_PER_USER_MAX: usize = 20;
/// A session ends when it is unused for this long.
pub const SESSION_IDLE: Millis = Millis::from_mins(30);
/// A session ends this long after its login, whatever happens.
pub const SESSION_LIFE: Millis = Millis::from_mins(12 * 60);
/// Use of a session or of an API token is written down at most this often.
pub const TOUCH_EVERY: Millis = Millis::from_mins(1);
/// API tokens, revoked ones included.
pub const API_TOKENS_MAX: usize = 1_000;
/// API tokens in force that one user has made by logging in.
pub const API_TOKENS_PER_USER_MAX: usize = 50;
/// An API token lives at most this long.
pub const API_TOKEN_LIFE_MAX: Millis = days(366);
/// An API token whose time is over is listed this long.
pub const API_TOKEN_SHOWN: Millis = days(30);
/// Login links that wait to be used.
pub const LOGIN_LINKS_MAX: usize = 100;
/// Life of a login link.
pub const LOGIN_LINK_LIFE: Millis = Millis::from_mins(15);
/// A clock that was set back by up to this much makes nothing live longer, over a
/// restart too; one that is back further was wrong before.
pub const CLOCK_BACK_MAX: Millis = days(7);
/// Name of a user or API token, bytes.
pub const NAME_MAX_BYTES: usize = 64;
/// A password's hash as it is kept, bytes.
pub const PASSWORD_HASH_MAX_BYTES: usize = 256;
/// Selectors of a scope.
pub const SCOPE_SELECTORS_MAX: usize = 64;
/// One selector of a scope, bytes.
pub const SCOPE_SELECTOR_MAX_BYTES: usize = 1_024;
/// A field of an audit line, characters; what is longer is cut and marked.
pub const AUDIT_FIELD_MAX_CHARS: usize = 1_024;
/// Lines of the audit that are kept, the newest: some 400 MB.
pub const AUDIT_LINES_MAX: u64 = 1_000_000;
/// Denials that are written down in one go; then one each [`DENIAL_EVERY`]: about
/// 3 MB a day for an attacker who never tires.
pub const DENIALS_BURST: u32 = 4_000;
/// See [`DENIALS_BURST`].
pub const DENIAL_EVERY: Millis = Millis::from_secs(10);
/// As [`DENIALS_BURST`], for one address.
pub const DENIALS_BURST_PER_ADDRESS: u32 = 2_000;
/// As [`DENIAL_EVERY`], for one address.
pub const DENIAL_EVERY_PER_ADDRESS: Millis = Millis::from_secs(20);
/// Addresses whose denials are counted apart; further ones share a count.
pub const DENIAL_ADDRESSES_MAX: usize = 1_024;

const fn days(n: u64) -> Millis {
    Millis::from_mins(24 * 60).times(n)
}
