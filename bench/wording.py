"""The words of tables in both languages. The pages' prose is in bench/pages."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.tables import Words


@dataclass(frozen=True)
class Language:
    """Attributes:
    page: template and file name of the page.
    texts: by key, the same keys in all languages.
    own: names of the gateway's own rows; notes: remarks on servers. What is missing is shown as it is.
    """

    page: str
    words: Words
    texts: dict[str, str]
    own: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


ENGLISH = Language(
    "performance.md",
    Words("server", "best", "not installed", "failed"),
    {
        "quick": "**This was a short run (`--quick`): a first impression, fewer subscribers and rounds.**",
        "cores": " cores",
        "goal": "goal",
        "limit": "limit",
        "measured": "measured",
        "met": "met",
        "missed": "missed",
        "not measured": "not measured",
        "fanout-floor": "fan-out, one per turn, beside the bare server",
        "fanout-centrifugo": "the same beside Centrifugo",
        "burst-floor": "fan-out, ten per turn, beside the bare server",
        "rpc-centrifugo": "request and answer, beside Centrifugo",
        "connect-centrifugo": "connect and sign-in by JWT, beside Centrifugo",
        "session-centrifugo": "connect and sign-in by session token, beside Centrifugo",
        "memory": "memory of an idle subscribed connection",
        "memory column": "memory, KB",
        "growth": "memory after 100 rounds of connect and drop, beside that after 10",
        "workers": "two workers' throughput, beside one worker's",
        "workers explained": (
            "The CPU that two workers take per message says what two cores of their own would deliver: twice "
            "one worker's, divided by what a message costs more. The messages a second were seen on two "
            "cores, which the workers shared with Redis and the driver: on such a machine they say little."
        ),
        "library": "For Centrifugo stands the {title} {version}: Centrifugo itself could not be installed.",
        "whole": "Centrifugo's rpc goes to a backend over HTTP; requests are held against its library.",
        "rpc": "request, µs",
        "connect": "connect, µs",
        "tls message": "message, µs",
        "tls rpc": "request, µs",
        "fan-out": "fan-out",
        "latency": "latency",
        "rate": "publications/s",
        "beaten": "- {what}: {who} {theirs}, wx-gateway {ours}",
        "nowhere": "Nowhere in this run.",
        "quantity": "quantity",
        "unit": "unit",
        "reference": "reference",
        "server": "server",
        "language": "language",
        "version": "version",
        "note": "remark",
        "readme head": "medians of one run, {date}, {machine}",
        "readme one": "server CPU per delivered message, {people} subscribers, 128 B, µs",
        "readme ten": "the same, ten publications in a turn of the loop, µs",
        "readme rpc": "per request and answer, 64 clients, µs",
        "readme connect": "per connect, sign-in by JWT and one subscription, µs",
        "readme memory": "memory of an idle subscribed connection, KB",
        "readme tls": "per delivered message, through nginx with TLS, µs",
        "readme alone": "the gateway alone",
    },
    {
        "/api/publish": "`POST /api/publish` (reference: an empty Starlette route)",
    },
)

CHINESE = Language(
    "performance.zh-CN.md",
    Words("服务器", "最好", "未能安装", "失败"),
    {
        "quick": "**这是一次短测（`--quick`）：只看个大概，订阅者和轮数都少。**",
        "cores": " 核",
        "goal": "目标",
        "limit": "限度",
        "measured": "实测",
        "met": "达到",
        "missed": "未达到",
        "not measured": "未测",
        "fanout-floor": "扇出，每轮一条，与裸服务器相比",
        "fanout-centrifugo": "同上，与 Centrifugo 相比",
        "burst-floor": "扇出，每轮十条，与裸服务器相比",
        "rpc-centrifugo": "请求与应答，与 Centrifugo 相比",
        "connect-centrifugo": "连接并用 JWT 登录，与 Centrifugo 相比",
        "session-centrifugo": "连接并用会话令牌登录，与 Centrifugo 相比",
        "memory": "空闲且已订阅的连接的内存",
        "memory column": "内存，KB",
        "growth": "连接断开 100 轮之后的内存，与 10 轮之后相比",
        "workers": "两个 worker 的吞吐量，与一个相比",
        "workers explained": (
            "两个 worker 每条消息的 CPU 说明各有一个核心时能送多少：一个 worker 的两倍，"
            "除以每条消息多出的开销。每秒条数是在两个核心上看到的，"
            "worker 与 Redis、驱动程序共用这两个核心，所以在两核的机器上说明不了多少。"
        ),
        "library": "Centrifugo 由 {title} {version} 代表：Centrifugo 本身未能安装。",
        "whole": "Centrifugo 自己的 rpc 要经 HTTP 交给后端；请求与它的库相比。",
        "rpc": "请求，µs",
        "connect": "连接，µs",
        "tls message": "消息，µs",
        "tls rpc": "请求，µs",
        "fan-out": "扇出",
        "latency": "延迟",
        "rate": "每秒发布",
        "beaten": "- {what}：{who} {theirs}，wx-gateway {ours}",
        "nowhere": "这次运行里没有。",
        "quantity": "指标",
        "unit": "单位",
        "reference": "对照",
        "server": "服务器",
        "language": "语言",
        "version": "版本",
        "note": "说明",
        "readme head": "同一次运行的中位数，{date}，{machine}",
        "readme one": "每条送达消息的服务器 CPU，{people} 个订阅者，128 B，µs",
        "readme ten": "同上，一轮事件循环里发布十条，µs",
        "readme rpc": "每次请求加应答，64 个客户端，µs",
        "readme connect": "每次连接、用 JWT 登录并订阅一个频道，µs",
        "readme memory": "一个空闲且已订阅的连接的内存，KB",
        "readme tls": "每条送达消息，经过带 TLS 的 nginx，µs",
        "readme alone": "网关自己",
    },
    {
        "/api/publish": "`POST /api/publish`（对照：空的 Starlette 路由）",
        "/api/broadcast, 100 channels": "`/api/broadcast`，100 个频道",
        "/api/batch, 100 publish commands": "`/api/batch`，100 条发布命令",
        "memory after 100 rounds of connect and drop": "连接断开 100 轮之后的内存（对照：10 轮之后）",
        "two workers: CPU per delivered message": "两个 worker：每条送达消息的 CPU（对照：一个）",
        "two workers on two cores: messages a second": "两个 worker 用两个核心：每秒消息数（对照：一个）",
        "from Redis to one subscriber, 200 at a time": "从 Redis 到一个订阅者，每次 200 条",
        "from Redis to one subscriber, one at a time": "从 Redis 到一个订阅者，每次一条",
        "the same with history, 200 at a time": "同上，带历史，每次 200 条",
        "through Redis to one subscriber each": "经 Redis 到各一个订阅者",
        "1,000 a second to 1,000 subscribers: p50": "每秒 1,000 条到 1,000 个订阅者：p50",
        "1,000 a second to 1,000 subscribers: p99": "每秒 1,000 条到 1,000 个订阅者：p99",
        "the same: gateway CPU": "同上：网关的 CPU",
    },
    {
        "floor": "没有 JSON、状态和登录：只是网关的设计本身的开销",
        "centrifugo": "它的 rpc 经 HTTP 交给后端：另一种工作，不比",
        "centrifuge": "Debian 打包的 Centrifugo 核心，2021 年",
        "nchan": "没有登录，没有 rpc",
        "channels": "内存里的 channel layer",
    },
)
