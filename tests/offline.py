"""A page with the network cut, which keeps what goes wrong on it."""


def open_offline(browser, path, **settings):
    """The page, in a context of its own; errors and what the console says of them in `.wrong`."""
    settings = {"viewport": {"width": 1280, "height": 900}, "offline": True} | settings
    page = browser.new_context(**settings).new_page()
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda said: page.wrong.append(said.text) if said.type == "error" else None)
    page.goto(path.as_uri())
    return page
