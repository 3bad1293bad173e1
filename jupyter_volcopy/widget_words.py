"""The texts of the panel in the user's language: English, or 简体中文.

Keys are the English texts (of two forms the one for many), so a text without a translation is
English. Messages of the core and reports of copies are English everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["CHINESE", "Words", "locale_language"]


def locale_language(environ: Mapping[str, str] = os.environ) -> str:
    """The language of the locale, as `zh_CN.UTF-8`; "" where there is none."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environ.get(name):
            return environ[name]
    return ""


class Words:
    """Texts by their English form.

    Args:
        language: `en`, `zh` or `zh_CN`; "": the locale's.
    """

    def __init__(self, language: str = "") -> None:
        chinese = (language or locale_language()).lower().startswith("zh")
        self._texts = CHINESE if chinese else {}

    def __call__(self, text: str, *values: object) -> str:
        """A sentence; `{0}`, `{1}` … are replaced by the values."""
        found = self._texts.get(text, text)
        return found.format(*values) if values else found

    def count(self, number: int, one: str, many: str, *values: object) -> str:
        """A sentence about a number, which is `{0}` in it; the values follow."""
        found = self._texts.get(many) or (one if number == 1 else many)
        return found.format(number, *values)


CHINESE = {
    "Container": "容器",
    "reading the containers …": "正在读取容器…",
    "Refresh": "刷新",
    "read everything again": "全部重新读取",
    "Try again": "重试",
    "Up": "上级",
    "go to the directory above": "转到上级目录",
    "Path": "路径",
    "Filter": "筛选",
    "part of a name": "名称的一部分",
    "Previous": "上一页",
    "the page before": "前一页",
    "Next": "下一页",
    "the page after": "后一页",
    "All": "全选",
    "select all that the filter shows": "选择筛选出的所有条目",
    "None": "全不选",
    "select nothing": "取消所有选择",
    "Into": "目标目录",
    "directory here (empty: the notebook's)": "此处的目录（空：笔记本所在目录）",
    "Existing files": "已有文件",
    "are replaced": "替换",
    "are left alone": "保留不动",
    "are replaced, the old kept as NAME~": "替换，旧文件留作 NAME~",
    "Pull what is selected": "拉取所选内容",
    "Pull": "拉取",
    "Pull {0} entries": "拉取 {0} 个条目",
    "Choose files": "选择文件",
    "Paths": "路径列表",
    "paths on this machine, one a line; patterns such as *.csv": (
        "本机路径，每行一个；可用 *.csv 之类的通配符"
    ),
    "Push": "推送",
    "Push into this directory": "推送到此目录",
    "into {0}": "推送到 {0}",
    "Removed by": "删除方式",
    "Forecast": "预测",
    "what that would lose": "查看会丢失什么",
    "Save it in": "保存到",
    "new directory here": "此处的新目录",
    "Rescue": "抢救",
    "save what that would lose": "保存会丢失的内容",
    "Kept or lost": "保留或丢失",
    "Transfers": "传输",
    "Transfers ({0} running)": "传输（{0} 个进行中）",
    "close this section": "收起此部分",
    "open this section": "展开此部分",
    "go to {0}": "转到 {0}",
    "select {0}": "选择 {0}",
    "Cancel": "取消",
    "Remove": "移除",
    "take this line away": "移除此行",
    "waiting for another transfer to end": "正在等待其他传输结束",
    "stopping; press again to stop at once": "正在停止；再按一次立即停止",
    "{0} and {1} more": "{0} 及另外 {1} 项",
    "Pull {0} → {1}": "拉取 {0} → {1}",
    "Push {0} → {1}": "推送 {0} → {1}",
    "Rescue {0} ({1}) → {2}": "抢救 {0}（{1}）→ {2}",
    "no engine": "没有引擎",
    "choose a container …": "选择容器…",
    "no containers": "没有容器",
    "volume {0}": "卷 {0}",
    "The engine has no containers, or none that you may see. "
    "`docker run` starts one; then read again.": (
        "引擎中没有容器，或没有您可见的容器。用 `docker run` 启动一个，然后刷新。"
    ),
    "{0} containers": "{0} 个容器",
    "reading {0} …": "正在读取 {0}…",
    "reading …": "正在读取…",
    "nothing here": "此处为空",
    "{0} entries": "{0} 个条目",
    "{0} of {1}": "{1}中的 {0} 个",
    "{0} to {1} of {2}": "{2}中的第 {0} 至 {1} 个",
    "more is there, but the container runs no program that lists it": (
        "还有更多条目，但容器没有可列出它们的程序"
    ),
    "{0} selected": "已选 {0} 个",
    "{0} selected, {1} of files": "已选 {0} 个，文件共 {1}",
    "looking …": "正在查看…",
    "running": "运行中",
    "created": "已创建",
    "paused": "已暂停",
    "restarting": "正在重启",
    "removing": "正在删除",
    "exited": "已停止",
    "dead": "已失效",
    "kept": "保留",
    "shared": "共享",
    "lost": "丢失",
    "partly lost": "部分丢失",
    "no name": "无名",
    "image": "镜像",
    "{0}; {1} sees the same data": "{0}；{1} 也能看到同样的数据",
    "written outside every mount: it goes with the container": "写在所有挂载之外：随容器消失",
    "something in it was written outside every mount": "其中有内容写在所有挂载之外",
    "as in the image: a new container has it again": "与镜像相同：新容器会再有它",
    "in the volume; {0} see the same data": "在卷中；{0} 能看到同样的数据",
    "a volume without a name: some ways of removal delete it": "无名的卷：某些删除方式会把它删掉",
    "in a volume: it stays when a container is removed": "在卷中：删除容器时仍保留",
    "{0}, {1}, owner {2}": "{0}，{1}，所有者 {2}",
    "{0}, {1}, owner {2}, leads to {3}": "{0}，{1}，所有者 {2}，指向 {3}",
    "file": "文件",
    "directory": "目录",
    "folder": "文件夹",
    "link": "链接",
    "symlink": "符号链接",
    "hardlink": "硬链接",
    "character device": "字符设备",
    "block device": "块设备",
    "fifo": "管道",
    "socket": "套接字",
    "{0} · image {1} · user {2}": "{0} · 镜像 {1} · 用户 {2}",
    "used by {0}": "被 {0} 使用",
    "used by no container": "没有容器使用",
    "volume · driver {0} · {1}": "卷 · 驱动 {0} · {1}",
    "on your own machine: start Docker, and see that you may use it ({0} must work as the user "
    "of this kernel)": (
        "在您自己的机器上：启动 Docker，并确认您有权使用（以此内核的用户运行 {0} 须成功）"
    ),
    "an engine elsewhere: set {0}, or choose a context with {1}, and start the kernel again": (
        "其他机器上的引擎：设置 {0}，或用 {1} 选择上下文，然后重启内核"
    ),
    "in a container: mount the socket ({0}); it makes whoever has it root on the host": (
        "在容器中：挂载套接字（{0}）；拥有它的人等同于主机的 root"
    ),
    "on a JupyterHub: let the site run the Volcopy service; the container then needs only its "
    "address in {0}": "在 JupyterHub 上：由站点运行 Volcopy 服务；容器只需在 {0} 中给出其地址",
    "This is Binder: it gives no Docker engine to its sessions, so there are no containers to "
    "show here. Install the package where your containers are.": (
        "这里是 Binder：它不给会话提供 Docker 引擎，所以没有可显示的容器。"
        "请在您的容器所在之处安装此包。"
    ),
    "No Docker engine here": "此处没有 Docker 引擎",
    "The panel shows containers and moves files of a Docker engine. It needs one of these:": (
        "此面板显示 Docker 引擎的容器并搬运文件。它需要以下之一："
    ),
    "No mounts: all it writes is gone when it is removed. {0} would keep PATH.": (
        "没有挂载：它写的一切会随删除而消失。{0} 可保留 PATH。"
    ),
    "{0} (one file)": "{0}（单个文件）",
    "bind": "主机目录",
    "named": "有名的卷",
    "anonymous": "无名的卷",
    "tmpfs": "内存（tmpfs）",
    "read-only": "只读",
    "read-write": "可读写",
    "also seen by {0}": "{0} 也能看到",
    "covers a part of {0}": "遮住了 {0} 的一部分",
    "would keep it: {0}": "这样可保留它：{0}",
    "volume {0} at {1}": "挂载在 {1} 的卷 {0}",
    "and {0} more (volcopy forecast lists them)": "以及另外 {0} 项（volcopy forecast 会全部列出）",
    "would lose {0} things, {1}": "会丢失 {0} 项，{1}",
    "would lose no file that can be seen": "不会丢失任何可见的文件",
    "and {0} files in caches, not listed": "以及缓存中的 {0} 个文件，未列出",
    "cannot be known": "无法得知",
    "would keep": "会保留",
    "would have been kept by: {0}": "这样就能保留：{0}",
    "to put it back: {0}": "恢复方法：{0}",
    "cancelled; what was there before is still there": "已取消；原有内容仍在",
}
