"""What [command] and [webhook] of the settings may be."""

import tomllib
from typing import Any

import pytest

from lictor import errors
from lictor.spec import delegation_settings, service_spec, settings
from lictor.spec.quantities import Duration

COMMAND = '[command]\nscale = ["ansible-playbook", "{name}.yml", "-e", "n={replicas}"]\nservices = ["books"]\n'
WEBHOOK = '[webhook.scale]\nurl = "https://ci.example.com/{name}?n={replicas}"\n'
JENKINS = ('[webhook.jenkins]\nurl = "https://ci.example.com/"\nuser = "lictor"\n'
           'token_file = "/etc/lictor/jenkins.token"\n')


def parsed(text: str) -> settings.Settings:
    return settings.parse_settings(tomllib.loads(text), "lictor.toml")


def webhook_of(text: str) -> delegation_settings.Webhook:
    found = parsed(text).webhook
    assert found
    return found


def test_each_key_of_a_command_is_read() -> None:
    words = ("ansible-playbook", "{name}.yml", "-e", "n={replicas}")
    assert parsed("").command is None and parsed("").webhook is None
    assert parsed(COMMAND).command == delegation_settings.Command(words, (), ("books",), Duration(600))
    assert parsed(
        COMMAND + 'redeploy = ["r", "{name}", "{{x}}"]\ntimeout = "90s"'
    ).command == delegation_settings.Command(words, ("r", "{name}", "{{x}}"), ("books",), Duration(90))


def test_each_key_of_a_webhook_is_read() -> None:
    found = parsed('[webhook]\ntimeout = "1m"\n' + WEBHOOK + """
method = "PUT"
headers = {X-Service = "{name}"}
headers_files = {Authorization = "/etc/lictor/ci.token"}
json = {count = "{replicas}", tags = ["{color}", 5, true], deep = {image = "{image}"}}
retry = false
[webhook.redeploy]
url = "http://ci.example.com/{name}"
form = {image = "{image}"}
""").webhook
    assert found == delegation_settings.Webhook(
        delegation_settings.Request(
            "https://ci.example.com/{name}?n={replicas}", "PUT", {"X-Service": "{name}"},
            {"Authorization": "/etc/lictor/ci.token"}, None,
            {"count": "{replicas}", "tags": ["{color}", 5, True], "deep": {"image": "{image}"}}, False),
        delegation_settings.Request("http://ci.example.com/{name}", form={"image": "{image}"}), Duration(60), None)


@pytest.mark.parametrize(("method", "retry"), [("GET", True), ("PUT", True), ("DELETE", True), ("POST", False),
                                               ("PATCH", False)])
def test_only_what_may_be_done_twice_is_repeated(method: str, retry: bool) -> None:
    assert webhook_of(f'{WEBHOOK}method = "{method}"').scale.may_repeat is retry
    other = webhook_of(f'{WEBHOOK}method = "{method}"\nretry = {str(not retry).lower()}')
    assert other.scale.may_repeat is not retry


def test_jenkins_is_where_its_url_is() -> None:
    assert webhook_of(WEBHOOK + JENKINS.replace('com/"', 'com"')).jenkins == delegation_settings.Jenkins(
        "https://ci.example.com/", "lictor", "/etc/lictor/jenkins.token", True)
    without = webhook_of(f"{WEBHOOK}{JENKINS}crumb = false").jenkins
    assert without and without.crumb is False


@pytest.mark.parametrize(("given", "said"), [
    ("command = 5", "command is 5; it must be a table"),
    ("[command]", "command.scale is missing; it must be a list of strings, first the program"),
    ("[command]\nscale = 'echo'", "command.scale is 'echo'; it must be a list of strings"),
    ("[command]\nscale = ['', '{name}{replicas}']", "command.scale is ['', '{name}{replicas}']; it must be"),
    ("[command]\nscale = ['a', '{name}']", "command.scale does not hold {replicas}"),
    ("[command]\nscale = ['a', '{replicas}', '{{name}}']", "command.scale does not hold {name}"),
    *((f"[command]\nscale = ['a', '{word}', '{{replicas}}']",
       f"command.services is missing; it must list the services' names, as scale holds '{word}': who names services")
      for word in ("/etc/{name}", "{name}.yml", "-e@vars/{name}.json", "http://{name}/", "@{name}", "-e@{name}",
                   "{name}-scale.yml", "--file={name}_x.json", "x={name}.yml")),
    *((f"[command]\nscale = ['a', '{word}', '{{name}}', '{{replicas}}']",
       f"command.scale holds '{word}'; {{image}} must not stand in a file's name")
      for word in ("/srv/{image}.yml", "./{image}", "{image}.yml", "@{image}", "--vars=/etc/x/{image}", "-e@{image}",
                   "~/{image}", "@/srv/{image}", "{image}-vars.json")),
    ("[command]\nscale = ['{name}', '{replicas}']", "command.scale begins with '{name}'; the program itself must not"),
    (f"{COMMAND}redeploy = ['a']", "command.redeploy does not hold {name}"),
    (f"{COMMAND}redeploy = ['a', '{{name}}', '{{number}}']", "command.redeploy: '{number}' is no placeholder; this "
     "version knows {name}, {replicas}, {image}, {color}, and a literal brace is written twice"),
    (f"{COMMAND}redeploy = ['a', '{{name}}', '}}']", "command.redeploy: '}' is no placeholder"),
    (f"{COMMAND}redeploy = ['a', '{{name}}', '{{']", "command.redeploy: '{' is no placeholder"),
    (f"{COMMAND}redeploy = ['a', '{{name}}', '{{}}']", "command.redeploy: '{}' is no placeholder"),
    ("[command]\nscale = ['a', 5]", "command.scale[1] is 5; it must be a string"),
    ("[command]\nscale = []", "command.scale is []; it must be a list of strings, first the program"),
    (f"{COMMAND}timeout = '0s'", "command.timeout is 0s; it must be more than 0s"),
    (f"{COMMAND}timeout = 0.5", "command.timeout: 0.5 is no duration"),
    (f"{COMMAND}shell = true", "unknown key command.shell; known are scale, redeploy, services, timeout"),
    ("webhook = 5", "webhook is 5; it must be a table"),
    ("[webhook.scale]", "webhook.scale.url is missing; it must be http://HOST or https://HOST"),
    ("[webhook.scale]\nurl = ''", "webhook.scale.url is ''; it must be http://HOST or https://HOST"),
    ("[webhook]", "webhook.scale is missing; it must be a table with the keys url, method, headers"),
    ("[webhook.scal]", "unknown key webhook.scal; did you mean scale? Known are scale, redeploy, timeout, jenkins"),
    ("[webhook]\nscale = 'http://a'", "webhook.scale is 'http://a'; it must be a table"),
    ("[webhook.scale]\nurl = 'ftp://a/{name}'", "webhook.scale.url is 'ftp://a/...'; it must be"),
    ("[webhook.scale]\nurl = 'https://{name}/{replicas}'", "webhook.scale.url is 'https://{name}/...'; it must be"),
    ("[webhook.scale]\nurl = 'https://me:hunter2@a/{name}'", "webhook.scale.url is '...@a/...'; it must be"),
    ("[webhook.scale]\nurl = 'https://a/{name}'", "webhook.scale does not hold {replicas}"),
    (f"{WEBHOOK}method = 'get'", "webhook.scale.method is 'get'; this version knows POST, PUT, GET, PATCH, DELETE"),
    (f"{WEBHOOK}body = 'x'", "unknown key webhook.scale.body; known are url, method, headers, headers_files, form, "),
    (f"{WEBHOOK}retry = 'yes'", "webhook.scale.retry is 'yes'; it must be true or false"),
    (f"{WEBHOOK}form = {{}}\njson = {{}}", "webhook.scale.form and json are both set"),
    (f"{WEBHOOK}form = {{n = 5}}", "webhook.scale.form.n is 5; it must be a string"),
    (f"{WEBHOOK}form = {{n = '{{number}}'}}", "webhook.scale: '{number}' is no placeholder"),
    (f"{WEBHOOK}json = []", "webhook.scale.json is []; it must be a table"),
    (f"{WEBHOOK}json = {{a = [{{b = '{{number}}'}}]}}", "webhook.scale: '{number}' is no placeholder"),
    (f"{WEBHOOK}json = {{a = 2026-01-01}}", "webhook.scale.json: Object of type date is not JSON serializable"),
    (f"{WEBHOOK}json = {{a = nan}}", "webhook.scale.json: Out of range float values"),
    (f"{WEBHOOK}headers = {{authorization = 'Bearer hunter2'}}", "webhook.scale.headers holds authorization; its value "
     "is a secret: write it into a file, and name that in headers_files"),
    (f"{WEBHOOK}headers = {{Content-Length = '5'}}", "webhook.scale.headers holds 'Content-Length'; it must be"),
    (f"{WEBHOOK}headers = {{'a b' = '5'}}", "webhook.scale.headers holds 'a b'; it must be the name of a header"),
    (f'{WEBHOOK}headers = {{a = "5\\nb: c"}}', "webhook.scale.headers.a is '5\\nb: c'; it must be one line"),
    (f"{WEBHOOK}headers = {{a = 5}}", "webhook.scale.headers.a is 5; it must be a string"),
    (f"{WEBHOOK}headers_files = {{a = 'token'}}", "webhook.scale.headers_files.a is 'token'; it must be an absolute"),
    (f"{WEBHOOK}[webhook.redeploy]\nurl = 'http://a'", "webhook.redeploy does not hold {name}"),
    (f"{WEBHOOK}[webhook.jenkins]", "webhook.jenkins.url is missing; it must be http://HOST"),
    (WEBHOOK + JENKINS.replace("com/", "com/?a"), "webhook.jenkins.url is 'https://ci.example.com/?a'; it must be"),
    (WEBHOOK + JENKINS.replace("ci.", "other."), "webhook.scale.url must begin with webhook.jenkins.url, "
     "https://other.example.com/: only that Jenkins is given the token"),
    (WEBHOOK + JENKINS.replace('"lictor"', '"a:b"'), "webhook.jenkins.user is 'a:b'; it must be a user's id"),
    (WEBHOOK + JENKINS.replace("/etc/", ""), "webhook.jenkins.token_file is 'lictor/jenkins.token'; it must be an abs"),
    (f"{WEBHOOK}{JENKINS}token = 'hunter2'", "unknown key webhook.jenkins.token; known are url, user, token_file, "),
    (f"{WEBHOOK}{JENKINS}crumb = 1", "webhook.jenkins.crumb is 1; it must be true or false"),
    (f"{WEBHOOK}method = 'PUT'\n{JENKINS}", "webhook.scale must be a POST with a form and without retry"),
    (f"{WEBHOOK}retry = true\n{JENKINS}", "webhook.scale must be a POST with a form and without retry"),
    (f"{WEBHOOK}headers_files = {{Authorization = '/t'}}\n{JENKINS}", "must not hold Authorization or Cookie"),
])
def test_what_is_refused_says_the_key_what_was_given_and_what_is_allowed(given: str, said: str) -> None:
    with pytest.raises(errors.Refused, match="^lictor.toml: [^\n]*$") as raised:
        parsed(given)
    assert said in str(raised.value) and "hunter2" not in str(raised.value)


@pytest.mark.parametrize("engine", service_spec.DELEGATED)
def test_a_spec_for_these_engines_needs_no_image_and_no_port(engine: str) -> None:
    spec: dict[str, Any] = {"name": "books", "engine": engine, "route": {"path": "/books"}}
    assert service_spec.parse_spec(spec, "books.yml").image == ""
    assert service_spec.parse_spec({**spec, "image": "books:1", "user": "", "read_only": False}, "").image == "books:1"
    with pytest.raises(errors.Refused, match="image is 'a b'"):
        service_spec.parse_spec({**spec, "image": "a b"}, "books.yml")


@pytest.mark.parametrize("given", [
    {"environment": {"A": "1"}}, {"env_file": "/e"}, {"command": "run"}, {"entrypoint": ["run"]}, {"volumes": ["/a"]},
    {"networks": ["n"]}, {"labels": ["a=b"]}, {"user": "root"}, {"read_only": True}, {"cap_drop": ["ALL"]},
    {"logging": {"driver": "none"}}, {"resources": {"cpus": 1}},
])
@pytest.mark.parametrize("engine", service_spec.DELEGATED)
def test_what_a_container_is_made_from_is_refused_by_name_where_lictor_makes_none(engine: str, given: Any) -> None:
    with pytest.raises(errors.Refused, match=f"^books.yml: {next(iter(given))} is for containers that lictor makes; it "
                                             f"must not be given with the engine {engine}"):
        service_spec.parse_spec({"name": "books", "engine": engine, **given}, "books.yml")


@pytest.mark.parametrize("word", ["registry.example.com/{image}", "--image={image}", "image={image}:{color}",
                                  "docker update r/{image} x; ls /srv", "/srv/deploy {image}", "{image}"])
def test_an_image_that_is_no_file_s_name_may_stand_anywhere(word: str) -> None:
    given = parsed(f"[command]\nscale = ['a', '{word}', '{{name}}', '{{replicas}}']").command
    assert given and given.scale[1] == word
