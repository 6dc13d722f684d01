"""WeChat's cryptography: its own published examples, round trips, and everything that may be broken."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wechat.crypto import (
    BadPush,
    ForeignData,
    MalformedData,
    PushCipher,
    StaleSessionKey,
    check_push,
    check_userinfo,
    decode_base64,
    decrypt_open_data,
    encrypt_open_data,
    push_signature,
    session_signature,
    userinfo_signature,
)

RAW_DATA = (
    '{"nickName":"Band","gender":1,"language":"zh_CN","city":"Guangzhou","province":"Guangdong","country":"CN",'
    '"avatarUrl":"http://wx.qlogo.cn/mmopen/vi_32/1vZvI39NWFQ9XM4LtQpFrQJ1xlgZxx3w7bQxKARol6503Iuswjjn6nIGBiayc'
    'AjAtpujxyzYsrztuuICqIM5ibXQ/0"}'
)
RAW_KEY = "HyVFkGl5F5OQWJZZaNzBBg=="
RAW_SIGNATURE = "75e81ceda165f4ffa64f4068af58c64b8f54b88c"

# The example that WeChat ships in several languages with the description of encryptedData.
DEMO_APP = "wx4f4bc4dec97d474b"
DEMO_KEY = "tiihtNczf5v6AKRyjwEUhQ=="
DEMO_IV = "r7BXXKkLb8qrSNn05n0qiA=="
DEMO_DATA = (
    "CiyLU1Aw2KjvrjMdj8YKliAjtP4gsMZMQmRzooG2xrDcvSnxIMXFufNstNGTyaGS9uT5geRa0W4oTOb1WT7fJlAC+oNPdbB+3hVbJSRgv+4l"
    "GOETKUQz6OYStslQ142dNCuabNPGBzlooOmB231qMM85d2/fV6ChevvXvQP8Hkue1poOFtnEtpyxVLW1zAo6/1Xx1COxFvrc2d7UL/lmHInN"
    "lxuacJXwu0fjpXfz/YqYzBIBzD6WUfTIF9GRHpOn/Hz7saL8xz+W//FRAUid1OksQaQx4CMs8LOddcQhULW4ucetDf96JcR3g0gfRK4PC7E/"
    "r7Z6xNrXd2UIeorGj5Ef7b1pJAYB6Y5anaHqZ9J6nKEBvB4DnNLIVWSgARns/8wR2SiRS7MNACwTyrGvt9ts8p12PKFdlqYTopNHR1Vf7Xjf"
    "hQlVsAJdNiKdYmYVoKlaRv85IfVunYzO0IKXsyl7JCUjCpoG20f0a04COwfneQAGGwd5oa+T8yO5hzuyDb/XcxxmK01EpqOyuxINew=="
)
DEMO_STAMP = 1477314187

PUSH_TOKEN = "AAAAA"
PUSH_KEY = "A" * 43
PUSH_APP = "wxba5fad812f8e6fb9"
PUSH_ENCRYPT = (
    "+qdx1OKCy+5JPCBFWw70tm0fJGb2Jmeia4FCB7kao+/Q5c/ohsOzQHi8khUOb05JCpj0JB4RvQMkUyus8TPxLKJGQqcvZqzDpVzazhZv6JsX"
    "UnnR8XGT740XgXZUXQ7vJVnAG+tE8NUd4yFyjPy7GgiaviNrlCTj+l5kdfMuFUPpRSrfMZuMcp3Fn2Pede2IuQrKEYwKSqFIZoNqJ4M8EajA"
    "sjLY2km32IIjdf8YL/P50F7mStwntrA2cPDrM1kb6mOcfBgRtWygb3VIYnSeOBrebufAlr7F9mFUPAJGj04="
)

keys = st.binary(min_size=16, max_size=16).map(lambda raw: base64.b64encode(raw).decode())
fields = st.dictionaries(
    st.text(max_size=8), st.text(max_size=40) | st.integers(-(2**53), 2**53) | st.booleans(), max_size=6
)


# ---------------------------------------------------------------------------- published examples
def test_the_signature_of_the_documentation() -> None:
    assert userinfo_signature(RAW_DATA, RAW_KEY) == RAW_SIGNATURE
    check_userinfo(RAW_DATA, RAW_SIGNATURE, RAW_KEY)
    check_userinfo(RAW_DATA, RAW_SIGNATURE.upper(), RAW_KEY)


def test_the_encrypted_data_of_the_documentation() -> None:
    opened = decrypt_open_data(DEMO_DATA, DEMO_IV, DEMO_KEY, DEMO_APP, now=DEMO_STAMP + 90.5)
    assert opened.fields["openId"] == "oGZUI0egBJY1zhBYw2KhdUfwVJJE"
    assert opened.fields["unionId"] == "ocMvos6NjeKLIBqg5Mr9QjxrP1FA"
    assert opened.age == 90.5
    assert "oGZUI0" not in repr(opened)


def test_the_url_verification_of_the_documentation() -> None:
    signature = "f464b24fc39322e44b38aa78f5edd27bd1441696"
    assert push_signature(PUSH_TOKEN, "1714036504", "1514711492") == signature
    check_push(signature, PUSH_TOKEN, "1714036504", "1514711492")


def test_the_safe_mode_of_the_documentation() -> None:
    time_and_nonce = ("1714112445", "415670741")
    check_push("6c5c811b55cc85e0e1b54100749188c20beb3f5d", PUSH_TOKEN, *time_and_nonce)
    check_push("046e02f8204d34f8ba5fa3b1db94908f3df2e9b3", PUSH_TOKEN, *time_and_nonce, PUSH_ENCRYPT)
    cipher = PushCipher(PUSH_KEY, PUSH_APP)
    message = cipher.decrypt(PUSH_ENCRYPT)
    assert json.loads(message)["Event"] == "debug_demo"
    assert len(message) == 167
    assert cipher.encrypt(message, b"a8eedb185eb2fecf") == PUSH_ENCRYPT


def test_the_reply_of_the_documentation() -> None:
    cipher = PushCipher(PUSH_KEY, PUSH_APP)
    sealed = cipher.encrypt(b'{"demo_resp":"good luck"}', b"707722b803182950")
    expected = "ELGduP2YcVatjqIS+eZbp80MNLoAUWvzzyJxgGzxZO/5sAvd070Bs6qrLARC9nVHm48Y4hyRbtzve1L32tmxSQ=="
    assert sealed == expected
    signature = push_signature(PUSH_TOKEN, "1713424427", "415670741", sealed)
    assert signature == "1b9339964ed2e271e7c7b6ff2b0ef902fc94dea1"


def test_the_signature_of_a_session_key_uses_its_base64_text() -> None:
    assert (
        session_signature("o0q0otL8aEzpcZL/FT9WsQ==", '{"foo":"bar"}')
        == "654571f79995b2ce1e149e53c0a33dc39c0a74090db514261454e8dbe432aa0b"
    )


# ---------------------------------------------------------------------------- round trips
@given(fields, keys, st.binary(min_size=16, max_size=16))
def test_open_data_comes_back(data: dict[str, Any], key: str, iv: bytes) -> None:
    data["watermark"] = {"appid": DEMO_APP, "timestamp": DEMO_STAMP}
    sealed, vector = encrypt_open_data(data, key, iv)
    assert decrypt_open_data(sealed, vector, key, DEMO_APP, DEMO_STAMP).fields == data
    damaged, vector = sealed.replace("+", " "), vector.replace("+", " ")
    assert decrypt_open_data(damaged, vector, key, DEMO_APP, DEMO_STAMP).fields == data


@given(fields, keys, keys)
def test_another_key_is_stale_whatever_comes_out(data: dict[str, Any], key: str, other: str) -> None:
    data["watermark"] = {"appid": DEMO_APP, "timestamp": DEMO_STAMP}
    sealed, vector = encrypt_open_data(data, key)
    if other != key:
        with pytest.raises(StaleSessionKey):
            decrypt_open_data(sealed, vector, other, DEMO_APP, DEMO_STAMP)


@given(
    st.binary(max_size=300),
    st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHI0123456789", min_size=43, max_size=43),
)
def test_pushes_come_back(message: bytes, key: str) -> None:
    cipher = PushCipher(key, PUSH_APP)
    assert cipher.decrypt(cipher.encrypt(message)) == message
    with pytest.raises(BadPush):
        PushCipher(key, PUSH_APP + "x").decrypt(cipher.encrypt(message))


@given(st.text(max_size=200), st.text(max_size=60), keys)
def test_a_signature_that_was_guessed_is_stale(raw: str, signature: str, key: str) -> None:
    with pytest.raises(StaleSessionKey):
        check_userinfo(raw, signature, key)


# ---------------------------------------------------------------------------- what is broken
@given(st.text(max_size=100), st.text(max_size=40), st.text(max_size=40))
def test_open_data_raises_its_three_errors_and_nothing_else(data: str, iv: str, key: str) -> None:
    with pytest.raises((MalformedData, StaleSessionKey, ForeignData)):
        decrypt_open_data(data, iv, key, DEMO_APP, DEMO_STAMP)


@given(st.text(max_size=100) | st.binary(max_size=200).map(lambda raw: base64.b64encode(raw).decode()))
def test_a_push_raises_one_error_and_nothing_else(encrypted: str) -> None:
    with pytest.raises(BadPush):
        PushCipher(PUSH_KEY, PUSH_APP).decrypt(encrypted)


@pytest.mark.parametrize("cut", [1, 4, 16, 24, 200])
def test_a_truncated_push_is_refused(cut: int) -> None:
    with pytest.raises(BadPush):
        PushCipher(PUSH_KEY, PUSH_APP).decrypt(PUSH_ENCRYPT[:-cut])


@pytest.mark.parametrize("text", [b"no json", b"[]", b'"text"', b"\xff\xfe", b"", b"[" * 5000, b"null"])
def test_what_opens_to_no_object_is_stale(text: bytes) -> None:
    # The right padding, which a wrong key gives once in 256 times.
    sealed, vector = _seal(text)
    with pytest.raises(StaleSessionKey):
        decrypt_open_data(sealed, vector, RAW_KEY, DEMO_APP, 0)


@pytest.mark.parametrize(
    "watermark",
    [None, 7, {}, {"appid": "wxOther", "timestamp": 1}, {"appid": DEMO_APP},
     {"appid": DEMO_APP, "timestamp": "1"}, {"appid": DEMO_APP, "timestamp": True},
     {"appid": 1, "timestamp": 1}],
)  # fmt: skip
def test_a_watermark_that_is_not_ours_is_foreign(watermark: object) -> None:
    sealed, vector = encrypt_open_data({"watermark": watermark}, RAW_KEY)
    with pytest.raises(ForeignData):
        decrypt_open_data(sealed, vector, RAW_KEY, DEMO_APP, 0)


@pytest.mark.parametrize("key", ["", "short", "密", "A" * 24, base64.b64encode(b"x" * 32).decode()])
def test_a_key_that_is_none_is_stale(key: str) -> None:
    with pytest.raises(StaleSessionKey):
        decrypt_open_data(DEMO_DATA, DEMO_IV, key, DEMO_APP, 0)


@pytest.mark.parametrize(
    ("data", "iv"), [("", DEMO_IV), (DEMO_DATA, ""), (DEMO_DATA[:-4], DEMO_IV), ("*", DEMO_IV)]
)
def test_what_is_no_ciphertext_is_malformed(data: str, iv: str) -> None:
    with pytest.raises(MalformedData):
        decrypt_open_data(data, iv, DEMO_KEY, DEMO_APP, 0)


def test_base64_is_repaired() -> None:
    assert decode_base64("+/+/") == decode_base64(" / /") == decode_base64("+/\r\n+/\n")
    assert decode_base64("QQ") == decode_base64("QQ==") == b"A"


@pytest.mark.parametrize("key", ["", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 42 + "密", "A" * 42 + "+"])
def test_an_aes_key_of_another_shape_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="43"):
        PushCipher(key, PUSH_APP)


def test_an_empty_token_signs_nothing() -> None:
    with pytest.raises(BadPush):
        check_push(push_signature("", "1", "2"), "", "1", "2")


def _seal(text: bytes) -> tuple[str, str]:
    from gateway.wechat import crypto

    vector = bytes(16)
    sealed = crypto._encrypt(crypto._pad(text, 16), base64.b64decode(RAW_KEY), vector)
    return base64.b64encode(sealed).decode(), base64.b64encode(vector).decode()
