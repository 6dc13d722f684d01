"""Content safety: what clients write and send is shown to WeChat's checks before anybody else sees it."""
