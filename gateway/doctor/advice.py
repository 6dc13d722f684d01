"""What the doctor can only tell: the domain lists to paste, and what no program can see."""

from __future__ import annotations


def domain_lists(domain: str) -> dict[str, str]:
    """The four lists of the console, by their names there. No port, not even :443: the URL must match."""
    return {
        "request 合法域名": f"https://{domain}",
        "socket 合法域名": f"wss://{domain}",
        "uploadFile 合法域名": f"https://{domain}",
        "downloadFile 合法域名": f"https://{domain}",
    }


def unprovable(domain: str) -> tuple[str, ...]:
    """Checks for a person."""
    return (
        f"ICP filing (备案) of {domain}: beian.miit.gov.cn, and your cloud's console; servers in "
        "mainland China need it",
        "that the four lists above are saved: mp.weixin.qq.com → 开发管理 → 开发设置 (50 changes a month)",
        "that it works without 不校验合法域名: switch it off in the developer tools, and debugging off "
        "on the phone",
        "a real phone on a mobile network: scan the preview code with Wi-Fi off, once with iOS, once "
        "with Android",
        "message push (if used): URL, Token, EncodingAESKey at 开发管理 → 消息推送 are those of gateway.toml",
        "the user privacy statement (用户隐私保护指引): without it getPhoneNumber and the like fail in "
        "release only",
    )
