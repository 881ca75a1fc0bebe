//! First start, restart, the site's authority, rotation and its interruptions.

use super::super::ca::AGENT_LIFE;
use super::super::testing::{Installation, NOW, TestAgent, agent, request};
use super::super::{Settings, Tls};
use super::*;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};
use signalbox_access::limits::RENEW_AFTER_END;
use signalbox_proto::clock::{Clock, ManualClock};
use signalbox_proto::join::Fingerprint;
use signalbox_proto::units::Millis;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn now(installation: &Installation) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(installation.clock.wall().0 / 1000).unwrap()))
}

/// What an agent that trusts `roots` makes of what the collector shows.
fn trusts(installation: &Installation, roots: Vec<CertificateDer<'static>>, name: &str) -> Result<(), rustls::Error> {
    let mut store = rustls::RootCertStore::empty();
    store.add_parsable_certificates(roots);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build().unwrap();
    let shown = installation.tls.own.shown();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier.verify_server_cert(&shown[0], &shown[1..], &name, &[], now(installation)).map(drop)
}

#[test]
fn the_first_start_makes_an_authority_and_a_restart_finds_it() {
    let first = Installation::new();
    let folder = first.folder.path().join("ca");
    assert_eq!((mode(&folder), mode(&folder.join("ca.key"))), (0o700, 0o600));
    let id = first.tls.installation();
    assert!(id.len() == 36 && id.as_bytes()[14] == b'4' && b"89ab".contains(&id.as_bytes()[19]), "{id}");
    let second = first.again();
    assert_eq!((second.installation(), second.pin()), (id, first.tls.pin()));
    assert_ne!(Installation::new().tls.pin(), first.tls.pin());
}

#[test]
fn an_exposed_key_a_lost_key_and_a_strange_key_keep_the_collector_from_starting() {
    let refused = |change: &dyn Fn(&Path)| {
        let first = Installation::new();
        let folder = first.folder.path().join("ca");
        change(&folder);
        Tls::open(folder, &Settings::default(), Arc::new(ManualClock::at(NOW))).unwrap_err().to_string()
    };
    let exposed = refused(&|folder| {
        std::fs::set_permissions(folder.join("ca.key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    });
    assert!(exposed.contains("chmod 600") && exposed.contains("ca.key"), "{exposed}");
    let lost = refused(&|folder| std::fs::remove_file(folder.join("ca.key")).unwrap());
    assert!(lost.contains("restore it from a backup"), "{lost}");
    let strange = refused(&|folder| {
        files::write(folder, "ca.key", &server_key().unwrap().serialize_pem(), true).unwrap();
    });
    assert!(strange.contains("belongs together"), "{strange}");
    let id = refused(&|folder| files::write(folder, "installation", "x", false).unwrap());
    assert!(id.contains("no UUID"), "{id}");
}

#[test]
fn a_first_start_that_was_cut_short_keeps_its_key() {
    let first = Installation::new();
    std::fs::remove_file(first.folder.path().join("ca/ca.pem")).unwrap();
    assert_eq!(first.again().pin(), first.tls.pin());
}

#[test]
fn an_agents_certificate_says_what_the_collector_says_and_nothing_of_the_request() {
    let first = Installation::new();
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut asks = rcgen::CertificateParams::new(vec!["collector.example.com".to_owned()]).unwrap();
    asks.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    asks.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let asked = AgentKey::of_request(asks.serialize_request(&key).unwrap().der()).unwrap();
    let issued = first.tls.issue(&asked, &agent("web1")).unwrap();
    let der = CertificateDer::from_pem_slice(issued.pem.as_bytes()).unwrap();
    let (_, read) = X509Certificate::from_der(&der).unwrap();
    let names = read.subject_alternative_name().unwrap().unwrap().value;
    let uri = format!("spiffe://{}/agent/web1", first.tls.installation());
    assert_eq!(names.general_names, [x509_parser::extensions::GeneralName::URI(&uri)]);
    let usage = read.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any && !read.is_ca());
    assert_eq!(read.subject().to_string(), "CN=web1");
    assert!(read.raw_serial().len() >= 15);
    assert_eq!(issued.not_after.0 - NOW.0, i64::try_from(AGENT_LIFE.0).unwrap());
    assert_eq!(NOW.0 - issued.not_before.0, 300_000);
    assert_eq!(super::super::ca::seconds(read.validity().not_after), issued.not_after);
    let again = first.tls.issue(&asked, &agent("web1")).unwrap();
    assert_ne!(again.pem, issued.pem, "serials are random");
}

#[test]
fn agents_of_every_age_trust_the_collector_through_a_rotation() {
    let first = Installation::new();
    let old = first.tls.authority().roots();
    assert_eq!(trusts(&first, old.clone(), "localhost"), Ok(()));
    assert!(trusts(&first, old.clone(), "elsewhere").is_err());
    let old_pin = first.tls.pin();
    let pin = first.tls.rotate_ca().unwrap();
    assert_ne!(pin, old_pin);
    let both = first.tls.authority().roots();
    assert_eq!(both.len(), 2);
    for roots in [old.clone(), both[..1].to_vec(), both] {
        assert_eq!(trusts(&first, roots, "localhost"), Ok(()));
    }
    // A token made before carries the old pin, and finds it in what is shown.
    for pin in [old_pin, pin] {
        let is_shown = first.tls.own.shown().iter().any(|certificate| {
            let (_, read) = X509Certificate::from_der(certificate).unwrap();
            super::super::csr::fingerprint_of(read.public_key().raw) == pin
        });
        assert!(is_shown, "{pin}");
    }
    assert_eq!(first.again().pin(), pin, "a restart goes on with the rotation");
    let dropped = first.tls.report().roots[1].dropped.unwrap();
    let kept = dropped.since(first.clock.wall());
    assert!(kept.0.abs_diff(RENEW_AFTER_END.0) <= 1000, "certificates count in seconds: {kept}");
    first.clock.advance(Millis(kept.0 - 1));
    first.tls.look_after().unwrap();
    assert_eq!(first.tls.report().roots.len(), 2);
    first.clock.advance(Millis(1));
    first.tls.look_after().unwrap();
    let report = first.tls.report();
    assert_eq!((report.roots.len(), report.roots[0].pin.clone()), (1, pin.base64()));
    assert!(trusts(&first, old, "localhost").is_err());
    assert_eq!(first.again().pin(), pin);
}

#[test]
fn the_old_root_can_be_dropped_sooner_and_only_once() {
    let first = Installation::new();
    let old = first.tls.authority().roots();
    assert!(first.tls.drop_old_ca().unwrap_err().to_string().contains("no old root"));
    let pin = first.tls.rotate_ca().unwrap();
    assert_eq!(first.tls.drop_old_ca().unwrap(), pin);
    assert_eq!((first.tls.report().roots.len(), first.tls.report().roots[0].dropped), (1, None));
    assert!(trusts(&first, old, "localhost").is_err());
    assert!(first.tls.drop_old_ca().is_err());
    assert_eq!(first.again().pin(), pin);
}

#[test]
fn a_rotation_whose_end_was_cut_short_ends_at_the_next_start() {
    let first = Installation::new();
    let pin = first.tls.rotate_ca().unwrap();
    let folder = first.folder.path().join("ca");
    files::rename(&folder, "ca-next.key", "ca.key").unwrap();
    let again = first.again();
    assert_eq!((again.pin(), again.authority().roots().len()), (pin, 1));
}

#[test]
fn a_rotation_whose_beginning_was_cut_short_is_begun_again() {
    let first = Installation::new();
    let folder = first.folder.path().join("ca");
    files::write(&folder, "ca-next.key", &server_key().unwrap().serialize_pem(), true).unwrap();
    assert_eq!(first.again().pin(), first.tls.pin());
    assert_ne!(first.tls.rotate_ca().unwrap(), Fingerprint([0; 32]));
    assert_eq!(first.tls.authority().roots().len(), 2);
}

/// The site's own authority, and its files.
fn site(folder: &Path) -> (Settings, PathBuf) {
    let other = Installation::new();
    let (certificate, key) = (folder.join("site.pem"), folder.join("site.key"));
    std::fs::copy(other.folder.path().join("ca/ca.pem"), &certificate).unwrap();
    std::fs::copy(other.folder.path().join("ca/ca.key"), &key).unwrap();
    (Settings { site_ca: Some((certificate.clone(), key)), ..Settings::default() }, certificate)
}

#[test]
fn the_sites_authority_is_used_and_rotated_by_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let (settings, certificate) = site(folder.path());
    let installation = Installation::with(settings);
    let made = TestAgent::of(&installation.tls, "web1");
    assert!(installation.tls.authority().is_external());
    assert!(!installation.folder.path().join("ca/ca.key").exists());
    let error = installation.tls.rotate_ca().unwrap_err().to_string();
    assert!(error.contains("site's") && error.contains("site.pem"), "{error}");

    let old = std::fs::read_to_string(&certificate).unwrap();
    let old_pin = installation.tls.pin();
    let next = Installation::new();
    let new = std::fs::read_to_string(next.folder.path().join("ca/ca.pem")).unwrap();
    std::fs::write(&certificate, format!("{new}{old}")).unwrap();
    assert!(installation.tls.reload().is_err(), "its key is not there yet");
    assert_eq!(installation.tls.pin(), old_pin);
    std::fs::copy(next.folder.path().join("ca/ca.key"), folder.path().join("site.key")).unwrap();
    installation.tls.reload().unwrap();
    assert_eq!(installation.tls.pin(), next.tls.pin());
    assert_eq!(installation.tls.authority().roots().len(), 2);
    drop(made);
}

#[test]
fn a_site_certificate_that_is_no_authority_or_over_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (settings, certificate) = site(folder.path());
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let leaf = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    std::fs::write(&certificate, leaf.pem()).unwrap();
    files::write(folder.path(), "site.key", &key.serialize_pem(), true).unwrap();
    let open = |at: UnixMillis| {
        let data = tempfile::tempdir().unwrap();
        Tls::open(data.path().join("ca"), &settings, Arc::new(ManualClock::at(at))).map(drop).unwrap_err().to_string()
    };
    assert!(open(NOW).contains("CA:TRUE"));
    let (_settings, _) = site(folder.path());
    let life = i64::try_from(super::super::ca::ROOT_LIFE.0).unwrap();
    assert!(open(UnixMillis(NOW.0 + life + 1000)).contains("has expired"));
}

#[test]
fn the_collectors_certificate_is_made_again_at_half_of_its_life() {
    let first = Installation::new();
    let before = first.tls.own.shown();
    first.clock.advance(Millis(super::super::ca::SERVER_LIFE.0 / 2 - 1));
    first.tls.look_after().unwrap();
    assert_eq!(first.tls.own.shown(), before);
    first.clock.advance(Millis(1));
    first.tls.look_after().unwrap();
    assert_ne!(first.tls.own.shown(), before);
    assert_eq!(trusts(&first, first.tls.authority().roots(), "localhost"), Ok(()));
}

#[test]
fn an_address_to_which_a_connection_came_is_named_from_then_on() {
    let first = Installation::new();
    let roots = first.tls.authority().roots();
    assert!(trusts(&first, roots.clone(), "192.0.2.7").is_err());
    first.tls.note_address("::ffff:192.0.2.7".parse().unwrap());
    assert_eq!(trusts(&first, roots.clone(), "192.0.2.7"), Ok(()));
    assert_eq!(trusts(&first, roots, "localhost"), Ok(()));
    for n in 0..200 {
        first.tls.note_address(std::net::IpAddr::from([10, 0, 0, n]));
    }
    assert_eq!(first.tls.own.names().len(), 64);
}

#[test]
fn a_name_that_agents_ask_for_is_named_by_our_authority_and_not_by_the_sites() {
    let named = |installation: &Installation, name: &str| {
        let shown = installation.tls.own.naming(&installation.tls.authority(), name, installation.clock.wall());
        let (_, read) = X509Certificate::from_der(&shown.cert[0]).unwrap();
        let names = read.subject_alternative_name().ok().flatten();
        names.is_some_and(|names| {
            names.value.general_names.contains(&x509_parser::extensions::GeneralName::DNSName(name))
        })
    };
    let own = Installation::new();
    assert!(named(&own, "monitor.example.com") && named(&own, "localhost"));
    assert!(!own.tls.own.names().contains(&"monitor.example.com".to_owned()));
    let folder = tempfile::tempdir().unwrap();
    assert!(!named(&Installation::with(site(folder.path()).0), "monitor.example.com"));
    for n in 0..200 {
        assert!(named(&own, &format!("n{n}.example.com")));
    }
}

#[test]
fn the_sites_certificate_for_http_is_read_again_and_a_faulty_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("http.pem"), folder.path().join("http.key"));
    let put = |name: &str| {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let made = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&pair).unwrap();
        std::fs::write(&certificate, made.pem()).unwrap();
        files::write(folder.path(), "http.key", &pair.serialize_pem(), true).unwrap();
    };
    put("one.example.com");
    let settings = Settings { site_http: Some((certificate.clone(), key.clone())), ..Settings::default() };
    let installation = Installation::with(settings);
    assert_eq!(installation.tls.report().server_names, ["one.example.com"]);
    put("two.example.com");
    installation.tls.reload().unwrap();
    assert_eq!(installation.tls.report().server_names, ["two.example.com"]);
    files::write(folder.path(), "http.key", &server_key().unwrap().serialize_pem(), true).unwrap();
    let error = installation.tls.reload().unwrap_err().to_string();
    assert!(error.contains("belong together"), "{error}");
    assert_eq!(installation.tls.report().server_names, ["two.example.com"]);
    assert_eq!(installation.tls.http_config().alpn_protocols, [b"http/1.1"]);
}

#[test]
fn no_private_key_is_in_debug_or_in_an_error() {
    let first = Installation::new();
    let key = std::fs::read_to_string(first.folder.path().join("ca/ca.key")).unwrap();
    let canary: String = key.lines().nth(1).unwrap().chars().take(40).collect();
    assert!(!format!("{:?}", first.tls).contains(&canary));
    std::fs::write(first.folder.path().join("ca/ca.pem"), &key).unwrap();
    let error = Tls::open(first.folder.path().join("ca"), &Settings::default(), first.clock.clone()).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(&canary), "{error}");
    let _request = request(&server_key().unwrap());
}

#[test]
fn what_ends_soon_and_does_not_renew_itself_is_said_in_time() {
    let first = Installation::new();
    assert_eq!(first.tls.warning(), None);
    let ninety_days = 90 * 24 * 3_600_000;
    first.clock.advance(Millis(super::super::ca::ROOT_LIFE.0 - ninety_days));
    assert_eq!(first.tls.warning(), None);
    first.clock.advance(Millis(1));
    assert!(first.tls.warning().unwrap().contains("rotate it"));
    first.tls.rotate_ca().unwrap();
    assert_eq!(first.tls.warning(), None);
}

#[test]
fn the_sites_files_are_checked_without_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let (settings, certificate) = site(folder.path());
    assert!(settings.check(NOW).is_ok() && Settings::default().check(NOW).is_ok());
    std::fs::write(&certificate, "x").unwrap();
    assert!(settings.check(NOW).unwrap_err().to_string().contains("no certificate"));
    let pair = Some((certificate, folder.path().join("nosuch.key")));
    let http = Settings { site_http: pair, ..Settings::default() };
    assert!(http.check(NOW).is_err());
}
