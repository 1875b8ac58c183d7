import tomllib

import pytest

from lictor import errors
from lictor.spec import settings
from lictor.spec.quantities import Duration, parse_duration


def parsed(text: str) -> settings.Settings:
    return settings.parse_settings(tomllib.loads(text), "lictor.toml")


def test_without_a_file_judgement_is_careful_and_nobody_is_told() -> None:
    assert parsed("") == settings.Settings(path="lictor.toml")
    assert parsed("").heal == settings.Heal(5, Duration(600), Duration(60), Duration(30))
    assert parsed("").notify is None and parsed("[heal]\n[notify]") == parsed("")


def test_a_node_without_nginx_says_false() -> None:
    assert parsed("nginx = false").nginx is None and parsed("[nginx]").nginx == settings.Nginx()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.8.8.8:65535", "[::1]:8899"])
def test_lictor_serve_may_listen_on_loopback(address: str) -> None:
    assert parsed(f"[watch]\naddress = '{address}'").watch.address == address


def test_a_reload_interval_is_read() -> None:
    nginx = parsed("[nginx]\nreload_min_interval = '1s'").nginx
    assert nginx and nginx.reload_min_interval_s == 1.0


def test_each_setting_of_healing_is_read_and_the_others_stay() -> None:
    given = '[heal]\nbudget = 0\nper = "1h30m"\nsurplus_after = "1500ms"\ntrust_after = "0s"'
    assert parsed(given).heal == settings.Heal(0, Duration(5400), Duration(1.5), Duration(0))
    assert parsed('[heal]\nper = "5m"').heal == settings.Heal(per_s=Duration(300))


@pytest.mark.parametrize(("given", "notify"), [
    ('command = ["/usr/local/bin/page", "--now"]', settings.Notify(command=("/usr/local/bin/page", "--now"))),
    ('url = "https://hooks.example.com"', settings.Notify(url="https://hooks.example.com")),
    ('url = "http://[::1]:8080/a/b?to=me@example.com"\ntoken_file = "/etc/lictor/notify.token"',
     settings.Notify(url="http://[::1]:8080/a/b?to=me@example.com", token_file="/etc/lictor/notify.token")),
    ('command = []\nurl = ""\ntoken_file = ""', None),
])
def test_who_is_told_is_a_command_or_an_address(given: str, notify: settings.Notify | None) -> None:
    assert parsed(f"[notify]\n{given}").notify == notify


@pytest.mark.parametrize(("given", "metrics"), [
    ("", None),
    ("listen = ''", None),
    ("listen = '127.0.0.1:8898'", settings.Metrics("127.0.0.1:8898")),
    ("listen = '[::1]:8898'\nsecret_file = '/s'", settings.Metrics("[::1]:8898", "/s")),
    ("listen = '0.0.0.0:8898'\nsecret_file = '/s'", settings.Metrics("0.0.0.0:8898", "/s")),
    ("listen = '[2001:db8::1]:8898'\nsecret_file = '/s'", settings.Metrics("[2001:db8::1]:8898", "/s")),
    ("textfile = '/var/lib/prometheus/node-exporter/lictor.prom'",
     settings.Metrics(textfile="/var/lib/prometheus/node-exporter/lictor.prom")),
])
def test_metrics_are_off_until_a_place_is_named_and_shown_beyond_loopback_to_who_knows_the_secret(
        given: str, metrics: settings.Metrics | None) -> None:
    assert parsed(f"[metrics]\n{given}").metrics == metrics


@pytest.mark.parametrize(("given", "said"), [
    ("path = '/x'", "unknown key path; known are prefix, state_dir, nginx"),
    ("nginx = true", "nginx is true; it must be a table, or false on a node without nginx"),
    ("nginx = 5", "nginx is 5; it must be a table, or false on a node without nginx"),
    ("[nginx]\nfile = 5", "unknown key nginx.file; known are mode, conf_dir, main_conf, binary, pid_file, container, "
     "reload_min_interval"),
    ("prefix = '/x'", "prefix is '/x'; it must end with a slash, not begin with one, and lie outside lictor/"),
    ("state_dir = 'x'", "state_dir is 'x'; it must be an absolute path"),
    ("nginx = 'http://me:hunter2@a/b'", "nginx is 'http://...@a/b'; it must be a table"),
    ("[notify]\nurl = ['https://me:hunter2@a/b']", "notify.url is a list; it must be a string"),
    ("heal = 5", "heal is 5; it must be a table"),
    ("notify = []", "notify is []; it must be a table"),
    ("healing = 5", "unknown key healing; did you mean heal? Known are prefix, state_dir, nginx, watch, heal, notify"),
    ("[heal]\nlimit = 5", "unknown key heal.limit; known are budget, per, surplus_after, trust_after"),
    ('[heal]\nper_s = "5s"', "unknown key heal.per_s; did you mean per? Known are"),
    ("[heal]\nbudget = -1", "heal.budget is -1; it must be a whole number, 0 or more"),
    ("[heal]\nbudget = true", "heal.budget is true; it must be a whole number"),
    ('[heal]\nbudget = "5"', "heal.budget is '5'; it must be a whole number"),
    ("[heal]\nbudget = 2.5", "heal.budget is 2.5; it must be a whole number"),
    ("[heal]\nper = 0.5", "heal.per: 0.5 is no duration; write it such as 500ms, 2s, 1m30s or 1h"),
    ('[heal]\nper = ""', "heal.per: '' is no duration"),
    ('[heal]\nper = "0s"', "heal.per is 0s; it must be within 1s..24h"),
    ('[heal]\nper = "25h"', "heal.per is 90000s; it must be within 1s..24h"),
    ('[heal]\ntrust_after = "-30s"', "heal.trust_after: '-30s' is no duration"),
    ('[heal]\nsurplus_after = "soon"', "heal.surplus_after: 'soon' is no duration"),
    ("[nginx]\nreload_min_interval = '100ms'", "nginx.reload_min_interval is 100ms; it must be at least 150ms"),
    *[(f"[nginx]\n{key} = '/x'", f"nginx.{other} is missing; it must be given with nginx.{key}")
      for key, other in (("certificate", "key"), ("key", "certificate"))],
    *[(f"[nginx]\nkey = '/x'\ncertificate = {each!r}", f"nginx.certificate is {each!r}; it must be an absolute path of")
      for each in ("live/{host}.pem", "/{name}.pem", "/{host", "/a b", "/a;", "/$ssl_server_name", "/a|", "/a'", "/ä")],
    ("[nginx]\nacme_webroot = '/{host}'", "nginx.acme_webroot is '/{host}'; it must be an absolute path of letters"),
    ("[nginx]\nacme_webroot = 'acme'", "nginx.acme_webroot is 'acme'; it must be an absolute path"),
    ("[nginx]\nreload_min_interval = 0", "nginx.reload_min_interval is 0ms; it must be at least 150ms"),
    ("[watch]\ndoor = 'side'", "watch.door is 'side'; this version knows script, http"),
    ("[watch]\naddress = '0.0.0.0:8899'", "watch.address is '0.0.0.0:8899'; it must be a loopback address"),
    ("[watch]\naddress = '10.0.0.1:8899'", "watch.address is '10.0.0.1:8899'; it must be a loopback address"),
    ("[watch]\naddress = 'localhost:8899'", "watch.address is 'localhost:8899'; it must be a loopback address"),
    ("[watch]\naddress = '::1:8899'", "watch.address is '::1:8899'; it must be a loopback address"),
    ("[watch]\naddress = '127.0.0.1:0'", "watch.address is '127.0.0.1:0'; it must be a loopback address"),
    ("[watch]\nsecret_file = 'secret'", "watch.secret_file is 'secret'; it must be an absolute path"),
    ("[metrics]\nlisten = '0.0.0.0:8898'", "metrics.listen is '0.0.0.0:8898', which is not loopback; it is allowed "
     "with metrics.secret_file only"),
    ("[metrics]\nlisten = '[::]:8898'", "metrics.listen is '[::]:8898', which is not loopback"),
    ("[metrics]\nlisten = 'localhost:8898'", "metrics.listen is 'localhost:8898'; it must be an IP address with"),
    ("[metrics]\nlisten = '10.0.0.1'", "metrics.listen is '10.0.0.1'; it must be an IP address with its port"),
    ("[metrics]\nlisten = '10.0.0.300:8898'", "metrics.listen is '10.0.0.300:8898'; it must be an IP address"),
    ("[metrics]\nlisten = '127.0.0.1:0'", "metrics.listen is '127.0.0.1:0'; it must be"),
    ("[metrics]\nlisten = '10.0.0.1:99999'", "metrics.listen is '10.0.0.1:99999'; it must be"),
    ("[metrics]\nlisten = '10.0.0.1:8898'\nsecret_file = 's'", "metrics.secret_file is 's'; it must be an absolute"),
    ("[metrics]\nsecret_file = '/s'", "metrics.secret_file is '/s'; it is allowed with metrics.listen only"),
    ("[metrics]\ntextfile = '/a/lictor.txt'", "metrics.textfile is '/a/lictor.txt'; it must end with .prom"),
    ("[metrics]\ntextfile = 'lictor.prom'", "metrics.textfile is 'lictor.prom'; it must be an absolute path"),
    ("[metrics]\nfile = 5", "unknown key metrics.file; known are listen, secret_file, textfile"),
    ("[notify]\nmail = 'me'", "unknown key notify.mail; known are url, token_file, command"),
    ("[notify]\nurl = 5", "notify.url is 5; it must be a string"),
    ("[notify]\ncommand = 'page me'", "notify.command is 'page me'; it must be a list of strings, first the program"),
    ("[notify]\ncommand = ['page', 5]", "notify.command[1] is 5; it must be a string"),
    ("[notify]\ncommand = ['', 'me']", "notify.command is ['', 'me']; it must be a list of strings"),
    ("[notify]\ncommand = ['page']\nurl = 'http://a'", "are both set; only one of them is allowed"),
    ("[notify]\nurl = 'ftp://a/b'", "notify.url is 'ftp://a/...'; it must be http://HOST or https://HOST"),
    ("[notify]\nurl = 'http://'", "notify.url is 'http://'; it must be"),
    ("[notify]\nurl = 'http://a:99999'", "notify.url is 'http://a:99999'; it must be"),
    ("[notify]\nurl = 'http://a:0'", "notify.url is 'http://a:0'; it must be"),
    ("[notify]\nurl = 'http://a/b c'", "notify.url is 'http://a/...'; it must be"),
    ("[notify]\nurl = 'http://a/b\\nc'".replace("'", '"'), "notify.url is 'http://a/...'; it must be"),
    ("[notify]\nurl = 'http://a#b'", "notify.url is 'http://a#b'; it must be"),
    ("[notify]\nurl = 'https://me:hunter2@a/b'", "notify.url is '...@a/...'; it must be"),
    ("[notify]\ntoken_file = '/t'", "notify.token_file is '/t'; it is allowed with notify.url only"),
    ("[notify]\nurl = 'http://a'\ntoken_file = 't'", "notify.token_file is 't'; it must be an absolute path"),
])
def test_what_is_refused_says_the_key_what_was_given_and_what_is_allowed(given: str, said: str) -> None:
    with pytest.raises(errors.Refused, match="^lictor.toml: [^\n]*$") as raised:
        parsed(given)
    assert said in str(raised.value) and "hunter2" not in str(raised.value)


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("2s", 2), ("1m30s", 90), ("1h", 3600), ("1.5s", 1.5),
                                               ("30", 30), (5, 5), (0, 0)])
def test_a_duration_is_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("given", ["", "s", "1s1m", "-1s", "1.5m", "-5", "1.5", "٣", -5, 1.5, None, True, b"1s"])
def test_what_is_no_duration_is_refused_with_what_is_one(given: object) -> None:
    with pytest.raises(ValueError, match="is no duration; write it such as 500ms, 2s, 1m30s or 1h"):
        parse_duration(given)
