"""Open data over HTTP: what a phone may learn, and the session key that nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.wechat.crypto import encrypt_open_data, userinfo_signature
from tests.timing import MS
from tests.wx_world import APP, Phone, World, running


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as world:
        yield world


@pytest.fixture
async def phone(world: World) -> Phone:
    return await world.sign_in()


# ---------------------------------------------------------------------------- /wx/userinfo
async def test_open_data_is_verified_and_decrypted(phone: Phone) -> None:
    answer = await phone.post("/wx/userinfo", await phone.open_data(city="广州"))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["openid"] == body["data"]["openId"] == phone.openid
    assert body["raw"]["city"] == body["data"]["city"] == "广州"
    assert body["data"]["watermark"]["appid"] == APP
    assert 0 <= body["watermark_age"] < 60
    assert answer.headers["cache-control"] == "no-store"
    assert await phone.world.session_key() not in answer.text


async def test_rawdata_alone_is_verified(phone: Phone) -> None:
    given = await phone.open_data()
    answer = await phone.post("/wx/userinfo", {name: given[name] for name in ("rawData", "signature")})
    assert set(answer.json()) == {"openid", "raw"}


async def test_the_whole_answer_of_getuserinfo_may_be_sent(phone: Phone) -> None:
    more = {"errMsg": "getUserInfo:ok", "userInfo": {"nickName": "alice"}, "cloudID": "x"}
    assert (await phone.post("/wx/userinfo", {**await phone.open_data(), **more})).status_code == 200


async def test_a_plus_that_became_a_space_is_repaired(phone: Phone) -> None:
    for attempt in range(50):
        given = await phone.open_data(attempt=attempt)
        if "+" in given["encryptedData"] and "+" in given["iv"]:
            break
    for name in ("encryptedData", "iv"):
        given[name] = given[name].replace("+", " ")
    assert (await phone.post("/wx/userinfo", given)).status_code == 200


async def test_a_stale_key_has_an_error_of_its_own_and_a_new_sign_in_mends_it(phone: Phone) -> None:
    await phone.world.sandbox("rotate", {"user": "alice"})
    given = await phone.open_data()
    answer = await phone.post("/wx/userinfo", given)
    assert (answer.status_code, answer.json()["code"]) == (409, 405)
    assert "session_key_stale" in answer.json()["message"]
    newer = await phone.world.sign_in()
    assert (await newer.post("/wx/userinfo", given)).status_code == 200
    assert (await phone.post("/wx/userinfo", given)).status_code == 200, "the key is the user's"


@pytest.mark.parametrize(
    "change",
    [
        {"signature": "0" * 40},
        {"signature": "x"},
        {"signature": "é"},
        {"rawData": "{}"},
        {"rawData": "密"},
        {"iv": "AAAAAAAAAAAAAAAAAAAAAA=="},
        {"encryptedData": "AAAAAAAAAAAAAAAAAAAAAA=="},
    ],
)
async def test_what_does_not_fit_the_key_is_stale(phone: Phone, change: dict[str, str]) -> None:
    answer = await phone.post("/wx/userinfo", {**await phone.open_data(), **change})
    assert (answer.status_code, answer.json()["code"]) == (409, 405), answer.text


@pytest.mark.parametrize("text", [b"\xff\xfe\xfd", b"no json", b"[1]"])
async def test_garbage_behind_good_padding_is_stale(phone: Phone, text: bytes) -> None:
    from tests.test_wx_crypto import _seal  # made with the key below

    key = "HyVFkGl5F5OQWJZZaNzBBg=="
    await phone.world.http.post("/wx/login", json={"code": await phone.world.code(session_key=key)})
    sealed, vector = _seal(text)
    body = {"rawData": "", "signature": userinfo_signature("", key), "encryptedData": sealed, "iv": vector}
    answer = await phone.post("/wx/userinfo", body)
    assert (answer.status_code, answer.json()["code"]) == (409, 405)


@pytest.mark.parametrize(
    "fields",
    [
        {"watermark": {"appid": "wxOther", "timestamp": 1}},
        {"watermark": {"appid": APP}},
        {},
        {"openId": "oSomebodyElse", "watermark": {"appid": APP, "timestamp": 1}},
    ],
)
async def test_data_of_another_app_or_user_is_refused(phone: Phone, fields: dict[str, Any]) -> None:
    sealed, vector = encrypt_open_data(fields, await phone.world.session_key())
    given = {**await phone.open_data(), "encryptedData": sealed, "iv": vector}
    answer = await phone.post("/wx/userinfo", given)
    assert (answer.status_code, answer.json()["code"]) == (400, 107)


LONG = "x" * 70_000
WRONG: list[Any] = [7, [], {}, True, LONG]
BAD_FIELDS: list[dict[str, Any]] = [
    {name: value} for name in ("rawData", "signature", "encryptedData", "iv") for value in WRONG
]
BAD_FIELDS += [{"rawData": None}, {"signature": None}]
BAD_FIELDS += [
    {"encryptedData": None},
    {"iv": None},
    {"encryptedData": "*" * 32},
    {"encryptedData": "AAAA"},
    {"encryptedData": ""},
    {"iv": "AAAA"},
    {"iv": "密" * 8},
    {"signature": ""},
]


@pytest.mark.parametrize("change", BAD_FIELDS, ids=range(len(BAD_FIELDS)))
async def test_bad_fields_are_400_and_are_not_quoted(phone: Phone, change: dict[str, Any]) -> None:
    answer = await phone.post("/wx/userinfo", {**await phone.open_data(), **change})
    assert (answer.status_code, answer.json()["code"]) == (400, 107), answer.text
    assert len(answer.text) < 400


@pytest.mark.parametrize("path", ["/wx/userinfo", "/wx/phone"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"{",
        b'{"rawData":NaN,"code":NaN}',
        b'{"rawData":"\\ud800","signature":"x"}',
        b"\xff",
        b"[" * 50_000,
    ],
)
async def test_bad_bodies_are_400(phone: Phone, path: str, body: bytes) -> None:
    for language in ("en", "zh"):
        answer = await phone.post(path, body, **{"Accept-Language": language})
        assert answer.status_code in (400, 409), answer.text
        assert set(answer.json()) == {"code", "message"}


async def test_a_surrogate_that_is_signed_is_no_server_error(phone: Phone) -> None:
    key = await phone.world.session_key()
    for raw in ("[NaN]", '{"a":NaN}', '{"a":"\\ud800"}', "[" * 9000, "{}x", "7"):
        answer = await phone.post("/wx/userinfo", {"rawData": raw, "signature": userinfo_signature(raw, key)})
        assert answer.status_code == 200, answer.text
        assert "raw" not in answer.json()


async def test_after_the_last_sign_out_there_is_no_key(phone: Phone) -> None:
    given = await phone.open_data()
    await phone.post("/wx/logout")
    assert (await phone.post("/wx/userinfo", given)).status_code == 401


# ---------------------------------------------------------------------------- /wx/phone
async def phone_code(phone: Phone, number: str = "+8613800138000") -> str:
    return str((await phone.world.sandbox("phone", {"user": phone.user, "phone": number}))["code"])


async def test_a_phone_code_works_once(phone: Phone) -> None:
    code = await phone_code(phone)
    answer = await phone.post("/wx/phone", {"code": code})
    assert answer.json() == {
        "phoneNumber": "+8613800138000",
        "purePhoneNumber": "13800138000",
        "countryCode": "86",
    }
    again = await phone.post("/wx/phone", {"code": code})
    assert (again.status_code, again.json()["code"]) == (400, 406)


async def test_a_double_tap_is_one_call(phone: Phone) -> None:
    await phone.world.sandbox("faults", {"kind": "slow", "api": "getuserphonenumber", "seconds": 50 * MS})
    code = await phone_code(phone)
    answers = await asyncio.gather(*(phone.post("/wx/phone", {"code": code}) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {200}
    assert (await apis(phone.world))["getuserphonenumber"] == 1


@pytest.mark.parametrize("code", [None, 7, "", "a b", "密", "x" * 257, [], "\x00"])
async def test_a_phone_code_of_the_wrong_kind_is_400(phone: Phone, code: object) -> None:
    answer = await phone.post("/wx/phone", {"code": code})
    assert (answer.status_code, answer.json()["code"]) == (400, 107)
    assert "getuserphonenumber" not in await apis(phone.world)


async def test_one_user_has_few_calls_in_flight(phone: Phone) -> None:
    await phone.world.sandbox("phone", {"user": "alice", "phone": "12345"})
    await phone.post("/wx/check")
    order = {"kind": "slow", "api": "getuserphonenumber", "seconds": 100 * MS, "times": 9}
    await phone.world.sandbox("faults", order)
    codes = [await phone_code(phone) for _ in range(4)]
    answers = await asyncio.gather(*(phone.post("/wx/phone", {"code": code}) for code in codes))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429]


# ---------------------------------------------------------------------------- /wx/check and /wx/reset
async def test_check_says_whether_the_key_is_still_the_users(phone: Phone) -> None:
    assert (await phone.post("/wx/check")).json() == {"valid": True}
    await phone.world.sandbox("rotate", {"user": "alice"})
    assert (await phone.post("/wx/check")).json() == {"valid": False}


async def test_reset_replaces_the_key_on_both_sides(phone: Phone) -> None:
    before = await phone.open_data()
    answer = await phone.post("/wx/reset")
    assert answer.json() == {"reset": True}
    assert (await phone.post("/wx/check")).json() == {"valid": True}
    assert (await phone.post("/wx/userinfo", before)).status_code == 409
    assert (await phone.post("/wx/userinfo", await phone.open_data())).status_code == 200


async def test_a_reset_with_a_stale_key_says_so(phone: Phone) -> None:
    await phone.world.sandbox("rotate", {"user": "alice"})
    answer = await phone.post("/wx/reset")
    assert (answer.status_code, answer.json()["code"]) == (409, 405)


# ---------------------------------------------------------------------------- the access token
async def apis(world: World) -> dict[str, int]:
    return dict((await world.http.get("/sandbox/stats")).json()["apis"])


async def test_many_users_at_once_fetch_one_access_token(world: World) -> None:
    phones = [await world.sign_in(f"user{number}") for number in range(20)]
    answers = await asyncio.gather(*(phone.post("/wx/check") for phone in phones))
    assert {answer.status_code for answer in answers} == {200}
    assert (await apis(world)) == {"stable_token": 1, "checksession": 20}


async def test_a_void_access_token_is_refreshed_once_and_nobody_notices(phone: Phone) -> None:
    await phone.post("/wx/check")
    await phone.world.http.post("/sandbox/void_tokens")
    code = await phone_code(phone)
    assert (await phone.post("/wx/phone", {"code": code})).status_code == 200
    assert await apis(phone.world) == {"stable_token": 2, "checksession": 1, "getuserphonenumber": 2}


@pytest.mark.parametrize("kind", ["token_invalid", "token_expired"])
async def test_a_token_that_is_refused_again_is_an_error(phone: Phone, kind: str) -> None:
    await phone.world.sandbox("faults", {"kind": kind, "api": "checksession", "times": 2})
    answer = await phone.post("/wx/check")
    assert answer.status_code == 503
    assert (await apis(phone.world))["checksession"] == 2
    assert (await phone.post("/wx/check")).json() == {"valid": True}


@pytest.mark.parametrize("kind", ["busy", "html", "bad_gateway", "quota"])
@pytest.mark.parametrize("api", ["stable_token", "checksession"])
async def test_wechat_away_is_503_and_passes(phone: Phone, kind: str, api: str) -> None:
    await phone.world.sandbox("faults", {"kind": kind, "api": api})
    answer = await phone.post("/wx/check")
    assert (answer.status_code, answer.json()["code"]) == (503, 400)
    assert (await phone.post("/wx/check")).json() == {"valid": True}
