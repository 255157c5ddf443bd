"""The entry of the pages: `streamlit run main.py` (`python -m mltrainer_pipelines.app` sets the options)."""

from pathlib import Path

import streamlit as st

from mltrainer_pipelines.app.frame import banner
from mltrainer_pipelines.app.views import chat, factors, portfolio, recommendations, system, trials

st.set_page_config(page_title="mlTrainer", page_icon=str(Path(__file__).with_name("icon.svg")), layout="wide")

page = st.navigation(
    [
        st.Page(
            recommendations.show, title="Recommendations", icon=":material/recommend:", url_path="recommendations", default=True
        ),
        st.Page(portfolio.show, title="Portfolio", icon=":material/account_balance_wallet:", url_path="portfolio"),
        st.Page(chat.show, title="mlTrainer chat", icon=":material/forum:", url_path="chat"),
        st.Page(trials.show, title="Trials", icon=":material/science:", url_path="trials"),
        st.Page(factors.show, title="Factors", icon=":material/function:", url_path="factors"),
        st.Page(system.show, title="System", icon=":material/monitor_heart:", url_path="system"),
    ],
    position="top",
)
banner()
page.run()
